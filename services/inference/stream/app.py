"""The role `stream`, composed: a Faust agent hands chunks to a `ChunkPipeline`, which predicts and commits them."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.contracts.topics import EVENTS, PREDICTIONS, SHADOWS
from headrace.model.pipeline import Pipeline
from headrace.runtime import kafka
from headrace.runtime.errors import HeadraceError
from headrace.runtime.lifecycle import Context, Stop
from headrace.runtime.tracing import start_tracing
from headrace.streams.app import ChunkApp, chunk_app
from headrace.streams.buffer import Limits
from headrace.streams.chunks import Partition
from headrace.streams.delivery import Output, Sink
from headrace.streams.identity import InstanceSlot, take_slot, transactional_id
from headrace.streams.isolation import Breaker
from headrace.streams.membership import Membership
from headrace.streams.pipeline import ChunkPipeline
from headrace.streams.transactions import PRODUCER_CONFIG, AcknowledgedSink, TransactionalSink
from headrace.weights import StaticWeights
from headrace.weights.worker.source import Bound, WeightsSource
from services.inference.live import live_weights, load
from services.inference.runner import Events, ModelRunner
from services.inference.stream.metrics import StreamMetrics
from services.inference.stream.service import StreamPredictor
from services.inference.stream.settings import StreamSettings
from services.inference.stream.spans import RoundSpans
from services.inference.stream.version_check import VersionCheck
from services.inference.warm_up import WarmUpBatches


class StreamApp:
    """Consumes the pipeline's events and predicts, from the moment that the first version of the weights is live.

    Args:
        context: the role's.
        pipeline: the champion's.
        samples: typical events, to test a version on that has predicted nothing yet.
    """

    def __init__(self, context: Context[StreamSettings], pipeline: Pipeline, samples: Events = ()) -> None:
        self._context = context
        self._settings = context.settings
        self._pipeline = pipeline
        self._samples = samples
        self._metrics = metrics = StreamMetrics(pipeline.name)
        tracing = start_tracing(context.role, context.settings.instance)
        self._spans = None if tracing is None else RoundSpans(tracing, pipeline.name, lambda: metrics.version)
        self._champion: ModelRunner | None = None
        self._variants: list[ModelRunner] = []
        self._chunks: ChunkPipeline | None = None
        self._slot: InstanceSlot | None = None
        self._highwaters: Callable[[], Mapping[Partition, int]] = dict
        self._group = self._settings.group or f"{pipeline.name}.stream"
        context.ready.declare("weights", "partitions")

    def follow(self, champion: ModelRunner, variants: Sequence[ModelRunner] = ()) -> None:
        """Predict with these models. The champion waits for none of the others; they are in pipeline.yaml's order."""
        self._champion, self._variants = champion, list(variants)

    def on_weights(self, bound: Bound) -> None:
        """Another version of the champion serves; called from the weights' thread."""
        self._context.ready.set("weights", True, f"version {bound.version}")  # noqa: FBT003
        if self._chunks is not None:
            self._chunks.poke()

    async def run(self, stop: Stop) -> None:
        """Predict until `stop` is set; then finish and commit what is in hand."""
        champion = self._must_champion()
        weights, app = champion.weights, self._app(champion)
        self._start_weights()
        try:
            if weights.version:
                self._context.ready.set("weights", True, f"version {weights.version}")  # noqa: FBT003
            await app.run(stop)
        finally:
            self._end()
            if self._slot is not None:
                self._slot.release()

    def for_faust(self) -> ChunkApp:
        """The same app, for Faust's own worker to start and stop; it follows the weights while it runs.

        Raises:
            HeadraceError: there are no weights to follow, or the broker does not answer.
        """
        app = self._app(self._must_champion())
        app.during(self._start_weights, self._end)
        return app

    def _must_champion(self) -> ModelRunner:
        if self._champion is None:
            raise HeadraceError("the stream has no weights to follow")
        return self._champion

    def _start_weights(self) -> None:
        for runner in self._runners():
            runner.weights.start()

    def _end(self) -> None:
        for runner in self._runners():
            runner.weights.stop()
        if self._spans is not None:
            self._spans.close()

    def _runners(self) -> list[ModelRunner]:
        return [*([] if self._champion is None else [self._champion]), *self._variants]

    def _app(self, champion: ModelRunner) -> ChunkApp:
        membership, process = Membership(), self._predictor(champion).process
        self._chunks = chunks = ChunkPipeline(
            process if self._spans is None else self._spans.around(process),
            self._sink(),
            membership,
            ready=lambda: champion.weights.version > 0,
            delivered=self._delivered,
            aborted=self._metrics.aborted,
        )
        settings = self._settings
        app = chunk_app(
            self._group,
            kafka_settings=settings,
            datadir=self._datadir(),
            commit="transactions",
            flow=chunks,
            membership=membership,
            limits=Limits(settings.buffer_records, settings.buffer_mib * 1024 * 1024),
            most_per_round=settings.round_records,
        )
        app.on_assignment(self._assigned)
        self._highwaters = app.highwaters

        @app.agent(app.chunks_of(EVENTS.name(self._pipeline.name)), name="predict")
        async def predict(stream: Any) -> None:
            async for chunk in stream:
                chunks.submit(chunk)

        return app

    def _predictor(self, champion: ModelRunner) -> StreamPredictor:
        admin, name = kafka.admin(self._settings), self._pipeline.name
        source, sink = (kafka.partitions_of(admin, topic.name(name)) for topic in (EVENTS, PREDICTIONS))
        shadows = kafka.partitions_of(admin, SHADOWS.name(name)) if self._pipeline.spec.has_shadows else source
        return StreamPredictor(
            self._pipeline,
            champion,
            Breaker(self._settings.bad_ratio, self._settings.bad_least),
            self._metrics,
            variants=self._variants,
            same_partitions=source == sink,
            same_shadow_partitions=source == shadows,
            check=VersionCheck(self._samples),
        )

    def _sink(self) -> Sink:
        settings = self._settings
        if self._pipeline.spec.stream.guarantee == "at_least_once":
            return AcknowledgedSink(lambda: kafka.producer(settings, **PRODUCER_CONFIG), self._metrics.phase)
        self._slot = take_slot(settings.run_folder / "slots", self._group)
        identity = transactional_id(self._group, self._slot)
        config = {**PRODUCER_CONFIG, "transaction.timeout.ms": settings.transaction_timeout_ms}
        return TransactionalSink(
            lambda: kafka.transactional_producer(settings, identity, **config), self._metrics.phase, self._lost
        )

    def _lost(self, error: HeadraceError) -> None:
        if self._chunks is not None:
            self._chunks.give_up(error)

    def _datadir(self) -> Path:
        """The folder that Faust must have; Headrace keeps nothing in it."""
        folder = Path(tempfile.gettempdir()) / f"headrace-faust-{self._settings.instance}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _delivered(self, output: Output) -> None:
        self._metrics.committed(output, self._highwaters(), time.time())
        if self._spans is not None:
            self._spans.delivered(output)

    def _assigned(self, assigned: set[Partition]) -> None:
        self._metrics.assigned(len(assigned))
        self._context.ready.set("partitions", True, f"{len(assigned)} assigned")  # noqa: FBT003


def build_stream(
    context: Context[StreamSettings],
    weights: WeightsSource | None = None,
    others: Mapping[str, WeightsSource] | None = None,
) -> "StreamApp":
    """The role `stream`. `others` are the further models' weights, by their names in the fleet."""
    pipeline = load(context.settings, context.role)
    warm_up = WarmUpBatches(pipeline)
    app = StreamApp(context, pipeline, warm_up.samples)
    live = weights or live_weights(context, pipeline, warm_up, app.on_weights)  # type: ignore[arg-type]
    variants = [_variant(context, other, (others or {}).get(other.model_name)) for other in pipeline.others]
    app.follow(ModelRunner(pipeline, live, remember=warm_up.remember), variants)
    return app


def _variant(context: Context[StreamSettings], pipeline: Pipeline, weights: WeightsSource | None) -> ModelRunner:
    warm_up = WarmUpBatches(pipeline)
    return ModelRunner(pipeline, weights or other_weights(context, pipeline, warm_up), remember=warm_up.remember)


def other_weights(context: Context[StreamSettings], pipeline: Pipeline, warm_up: WarmUpBatches) -> WeightsSource:
    """A further model's versions.

    Where its network cannot be made, there are none, and the champion serves without it.
    """
    try:
        return live_weights(context, pipeline, warm_up, lambda _: None)  # type: ignore[arg-type]
    except Exception as error:  # noqa: BLE001 - its author's `network` may raise anything
        said = f"{type(error).__name__}: {error}"
        context.log.error(  # noqa: TRY400 - the reason is in the line
            "a model stays without a version: its network cannot be made", model=pipeline.model_name, error=said
        )
        return StaticWeights(None, model=pipeline.model_name)
