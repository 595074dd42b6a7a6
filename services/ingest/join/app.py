"""The role `join`, composed."""

import asyncio
import gc
from contextlib import ExitStack

from headrace.contracts.topics import EVENTS
from headrace.model.join_spec import JoinSpec
from headrace.model.pipeline import Pipeline
from headrace.runtime import kafka
from headrace.runtime.lifecycle import Context, Stop
from headrace.streams.identity import InstanceSlot, take_slot, transactional_id
from headrace.streams.transactions import PRODUCER_CONFIG, TransactionalSink
from services.ingest.join import metrics
from services.ingest.join.examples import ExampleWriter, kept, kept_whole
from services.ingest.join.kafka import KafkaLogs, group_of
from services.ingest.join.keys import KeyReader
from services.ingest.join.labels import default_label, sampling
from services.ingest.join.loop import Joiner, run
from services.ingest.join.ports import Names
from services.ingest.join.rules import EVENTS as EVENTS_SIDE
from services.ingest.join.rules import SIDES, Counts, Rules
from services.ingest.join.service import NEVER
from services.ingest.join.settings import JoinSettings
from services.ingest.join.state.disk import Disk
from services.ingest.pipeline import load
from services.ingest.service import STREAMS

COLLECT_AT = (200_000, 20, 20)
"""Objects after which garbage is looked for: a poll makes tens of thousands, of which none is part of a cycle."""


class JoinApp:
    """The role `join`: one thread polls, joins and commits."""

    def __init__(self, context: Context[JoinSettings], pipeline: Pipeline) -> None:
        self._context, settings = context, context.settings
        self._name, group = pipeline.name, group_of(pipeline.name)
        self._slot: InstanceSlot = take_slot(settings.run_folder / "slots", group)
        config = {**PRODUCER_CONFIG, "transaction.timeout.ms": settings.transaction_timeout_ms}
        identity = transactional_id(group, self._slot)
        self._sink = TransactionalSink(lambda: kafka.transactional_producer(settings, identity, **config))
        names = Names.of(pipeline.name)
        key = pipeline.model.key
        self._disk = Disk(settings.spill_dir or settings.run_folder / "spill", settings.spill_bytes)
        rules = rules_of(pipeline.spec.join)
        labels = pipeline.spec.join.labels
        writer = ExampleWriter(rules.window_ms, default_label(pipeline), sampling(pipeline), labels.corrected_weight)
        self._joiner = Joiner(
            names,
            rules,
            KeyReader(pipeline.event_decoder, key),
            KeyReader(pipeline.label_decoder, key),
            self._sink,
            writer=writer,
            idle_s=pipeline.spec.join.idle_s,
            max_bytes=settings.max_state_bytes,
            disk=self._disk,
            ahead=True,
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
        with ExitStack() as closing:  # the other way round: first what is in hand is finished
            for close in (self._slot.release, self._sink.close, self._logs.close, self._joiner.close):
                closing.callback(close)
            self._sink.open()
            self._logs.open()
            gc.freeze()  # what was imported stays: collections need not look at it again
            gc.set_threshold(*COLLECT_AT)
            run(self._joiner, self._logs, stop.is_set, self._tick)

    def _counted(self, counts: Counts, rejected: int) -> None:
        metrics.JOINED.labels(self._name).inc(counts.matched)
        metrics.DUPLICATES.labels(self._name).inc(counts.duplicates)
        metrics.DEFAULTS.labels(self._name).inc(counts.defaults)
        metrics.CORRECTED.labels(self._name).inc(counts.corrected)
        metrics.SAMPLED_OUT.labels(self._name).inc(counts.sampled_out)
        metrics.EVICTED.labels(self._name).inc(counts.evicted)
        metrics.FORGOTTEN.labels(self._name).inc(counts.forgotten)
        metrics.DEAD_LETTERS.labels(self._name).inc(rejected)
        for side in SIDES:
            metrics.EXPIRED.labels(self._name, STREAMS[side]).inc(counts.expired[side])
            metrics.OUT_OF_BOUNDS.labels(self._name, STREAMS[side]).inc(counts.out_of_bounds[side])

    def _tick(self) -> None:
        joins = list(self._joiner.joins.values())
        rebuilding = sum(join.rebuilding for join in joins)
        detail = f"{len(joins)} partitions, {rebuilding} reading their window again"
        self._context.ready.set("assignment", self._logs.assignments > 0 and not rebuilding, detail)
        metrics.PARTITIONS.labels(self._name).set(len(joins))
        metrics.SPILLED_BYTES.labels(self._name).set(self._disk.used)
        for side in SIDES:
            metrics.WAITING.labels(self._name, STREAMS[side]).set(sum(join.waiting(side) for join in joins))
            metrics.REMEMBERED.labels(self._name, STREAMS[side]).set(sum(join.seen(side) for join in joins))
            metrics.STATE_BYTES.labels(self._name, STREAMS[side]).set(sum(join.bytes_held(side) for join in joins))
            low = min((join.low(side) for join in joins), default=NEVER)
            metrics.LOW_TIME.labels(self._name, STREAMS[side]).set(max(0, low) / 1000)
        for topic, lag in self._logs.lag().items():
            stream = STREAMS[EVENTS_SIDE] if topic == EVENTS.name(self._name) else "labels"
            metrics.LAG.labels(self._name, stream).set(lag)


def rules_of(spec: JoinSpec) -> Rules:
    """How the pipeline joins."""
    labels, skew_ms = spec.labels, None if spec.max_skew_s is None else round(spec.max_skew_s * 1000)
    return Rules(
        round(spec.window_s * 1000),
        skew_ms,
        spec.out_of_bounds,
        kept,
        kept_whole,
        late=labels.late,
        defaults=labels.missing.default is not None,
        corrections=labels.conflicting == "corrected",
    )


def build_join(context: Context[JoinSettings]) -> JoinApp:
    """The role `join` from its settings.

    Raises:
        ConfigError: no pipeline was named, or it cannot be loaded.
        DependencyError: the broker does not answer.
    """
    return JoinApp(context, load("join", context.settings))
