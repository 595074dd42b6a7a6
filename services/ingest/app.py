"""Composition of ingest's two roles."""

import asyncio
import gc

import msgspec

from headrace.contracts.topics import EVENTS, LABELS
from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.runtime import kafka
from headrace.runtime.errors import ConfigError
from headrace.runtime.lifecycle import Context, Stop, until_stopped
from headrace.runtime.settings import ServiceSettings
from headrace.runtime.web import WebServer
from headrace.streams.identity import Slot, take_slot, transactional_id
from headrace.streams.transactions import PRODUCER_CONFIG, TransactionalSink
from services.ingest import metrics
from services.ingest.grpc import GrpcServer
from services.ingest.join import EVENTS as EVENTS_SIDE
from services.ingest.join import SIDES, Counts, KeyOf
from services.ingest.join_kafka import KafkaLogs, group_of
from services.ingest.join_loop import Joiner, Names, run
from services.ingest.kafka import KafkaLog
from services.ingest.rest import create_app
from services.ingest.service import STREAMS, Ingest, StreamSchema
from services.ingest.settings import IngestSettings, JoinSettings


def _pipeline(role: str, settings: ServiceSettings) -> Pipeline:
    """The pipeline named by the settings, its topics there."""
    if settings.pipeline is None:
        raise ConfigError(f"{role}: no pipeline", hint="--pipeline FOLDER")
    pipeline = load_pipeline(settings.pipeline)
    kafka.ensure_topics(settings, pipeline.topics)
    return pipeline


class IngestApp:
    """The role `ingest`: REST and gRPC in one event loop, over one producer."""

    def __init__(self, context: Context[IngestSettings], pipeline: Pipeline) -> None:
        self._context, settings = context, context.settings
        self._log = KafkaLog(
            settings,
            delivery_timeout_s=settings.delivery_timeout_s,
            linger_ms=settings.linger_ms,
            max_in_flight=settings.max_in_flight,
        )
        ingest = Ingest(
            schemas(pipeline),
            self._log,
            max_in_flight=settings.max_in_flight,
            max_record_bytes=settings.max_record_bytes,
        )
        limit = settings.max_request_bytes
        self._grace_s = settings.shutdown_timeout_s / 2
        self._rest = WebServer(create_app(ingest, max_request_bytes=limit), settings.host, settings.rest_port)
        self._grpc = GrpcServer(ingest, settings.host, settings.grpc_port, max_request_bytes=limit)
        context.ready.declare("rest", "grpc")

    async def run(self, stop: Stop) -> None:
        """Answer until `stop`; then finish the requests in hand and what the broker has not acknowledged yet."""
        serving = asyncio.create_task(self._rest.serve())
        await self._grpc.start()
        for name, address in (("rest", self._rest.url), ("grpc", self._grpc.address)):
            self._context.publish_endpoint(name, address)
            self._context.ready.set(name, True, address)  # noqa: FBT003 - the value is the point
        try:
            await until_stopped(stop, asyncio.shield(serving), self._log.served())
        finally:
            self._rest.stop()
            await asyncio.gather(self._grpc.stop(self._grace_s), serving)
            left = await asyncio.to_thread(self._log.close, self._grace_s)
            if left:
                self._context.log.error("records not acknowledged", records=left)


def schemas(pipeline: Pipeline) -> dict[tuple[str, str], StreamSchema]:
    """Both streams of a pipeline, by (pipeline, stream)."""
    events, labels = (topic.name(pipeline.name) for topic in (EVENTS, LABELS))
    parts = ((events, pipeline.event_decoder), (labels, pipeline.label_decoder))
    return {
        (pipeline.name, stream): StreamSchema(topic, decoder, pipeline.model.key)
        for stream, (topic, decoder) in zip(STREAMS, parts, strict=True)
    }


def build_ingest(context: Context[IngestSettings]) -> IngestApp:
    """The role `ingest` from its settings.

    Raises:
        ConfigError: no pipeline was named, it cannot be loaded, or a port is taken.
        DependencyError: the broker does not answer.
    """
    return IngestApp(context, _pipeline("ingest", context.settings))


class JoinApp:
    """The role `join`: one thread polls, joins and commits."""

    def __init__(self, context: Context[JoinSettings], pipeline: Pipeline) -> None:
        self._context, settings = context, context.settings
        self._name, group = pipeline.name, group_of(pipeline.name)
        self._slot: Slot = take_slot(settings.run_folder / "slots", group)
        config = {**PRODUCER_CONFIG, "transaction.timeout.ms": settings.transaction_timeout_ms}
        identity = transactional_id(group, self._slot)
        self._sink = TransactionalSink(lambda: kafka.transactional_producer(settings, identity, **config))
        names = Names.of(pipeline.name)
        key = pipeline.model.key
        self._joiner = Joiner(
            names,
            round(pipeline.spec.join.window_s * 1000),
            key_reader(pipeline.event_decoder, key),
            key_reader(pipeline.label_decoder, key),
            self._sink,
            max_waiting=settings.max_waiting,
            counted=self._counted,
        )
        self._logs = KafkaLogs(
            settings,
            names,
            self._joiner,
            member=identity,
            batch=settings.batch,
            wait_s=settings.poll_s,
            session_s=settings.session_timeout_s,
        )
        context.ready.declare("assignment")

    async def run(self, stop: Stop) -> None:
        """Join until `stop`; the transaction in hand is finished first."""
        await asyncio.to_thread(self._run, stop)

    def _run(self, stop: Stop) -> None:
        try:
            self._sink.open()
            self._logs.open()
            gc.freeze()  # what was imported stays: collections need not look at it again
            run(self._joiner, self._logs, stop.is_set, self._tick)
        finally:
            self._logs.close()
            self._sink.close()
            self._slot.release()

    def _counted(self, counts: Counts, rejected: int) -> None:
        metrics.JOINED.labels(self._name).inc(counts.matched)
        metrics.DUPLICATES.labels(self._name).inc(counts.duplicates)
        metrics.EVICTED.labels(self._name).inc(counts.evicted)
        metrics.DEAD_LETTERS.labels(self._name).inc(rejected)
        for side in SIDES:
            metrics.EXPIRED.labels(self._name, STREAMS[side]).inc(counts.expired[side])

    def _tick(self) -> None:
        joins = list(self._joiner.joins.values())
        rebuilding = sum(join.rebuilding for join in joins)
        detail = f"{len(joins)} partitions, {rebuilding} reading their window again"
        self._context.ready.set("assignment", self._logs.assignments > 0 and not rebuilding, detail)
        metrics.PARTITIONS.labels(self._name).set(len(joins))
        for side in SIDES:
            metrics.WAITING.labels(self._name, STREAMS[side]).set(sum(join.waiting(side) for join in joins))
            metrics.REMEMBERED.labels(self._name, STREAMS[side]).set(sum(join.seen(side) for join in joins))
        for topic, lag in self._logs.lag().items():
            stream = STREAMS[EVENTS_SIDE] if topic == EVENTS.name(self._name) else "labels"
            metrics.LAG.labels(self._name, stream).set(lag)


def key_reader(decoder: msgspec.json.Decoder[msgspec.Struct], key: str) -> KeyOf:
    """A function from a record's bytes to its key as text; raises msgspec.DecodeError, a ValueError, where they do not fit."""
    decode = decoder.decode
    return lambda value: str(getattr(decode(value), key))


def build_join(context: Context[JoinSettings]) -> JoinApp:
    """The role `join` from its settings.

    Raises:
        ConfigError: no pipeline was named, or it cannot be loaded.
        DependencyError: the broker does not answer.
    """
    return JoinApp(context, _pipeline("join", context.settings))
