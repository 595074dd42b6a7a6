"""The role `ingest`, composed."""

import asyncio

from headrace.contracts.topics import EVENTS, LABELS
from headrace.model.pipeline import Pipeline
from headrace.runtime.lifecycle import Context, Stop, until_stopped
from headrace.runtime.web import WebServer
from services.ingest.grpc import GrpcServer
from services.ingest.kafka import KafkaLog
from services.ingest.pipeline import load
from services.ingest.rest import create_app
from services.ingest.service import STREAMS, Ingest, StreamSchema
from services.ingest.settings import IngestSettings


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
        self._rest = WebServer(
            create_app(ingest, max_request_bytes=limit), settings.host, settings.rest_port, edge=context.edge
        )
        self._grpc = GrpcServer(ingest, settings.host, settings.grpc_port, edge=context.edge, max_request_bytes=limit)
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
    return IngestApp(context, load("ingest", context.settings))
