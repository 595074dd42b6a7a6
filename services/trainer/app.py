"""Composition of the trainer."""

import asyncio
import gc
import time
from collections import Counter

import torch

from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.runtime import kafka
from headrace.runtime.devices.choosing import open_device
from headrace.runtime.devices.port import Device
from headrace.runtime.errors import ConfigError
from headrace.runtime.lifecycle import Context, Stop
from headrace.weights import open_store, signing_key
from services.trainer import metrics
from services.trainer.checkpoint import CheckpointFolder, Header
from services.trainer.compiler_check import check_compiler
from services.trainer.deferred_compiler import defer_compiler
from services.trainer.kafka import KafkaAnnouncer, KafkaExamples, KafkaLostChunkReports
from services.trainer.learner import Learner
from services.trainer.progress import MODEL
from services.trainer.publishing import Published, Publisher
from services.trainer.service import Trainer
from services.trainer.settings import TrainerSettings

LAG_EVERY_S = 1.0


class PrometheusObserver:
    """See `services.trainer.ports.Observer`."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._skipped = Counter[str]()

    def batch(self, learner: Learner, examples: int, seconds: float) -> None:
        """A batch was learned from."""
        name = self._model
        metrics.EXAMPLES.labels(name).inc(examples)
        metrics.STEPS.labels(name).set(learner.steps)
        for reason, count in (learner.skipped - self._skipped).items():
            metrics.SKIPPED.labels(name, reason).inc(count)
        self._skipped = learner.skipped.copy()
        metrics.LOSS.labels(name).set(learner.loss)
        metrics.STEP_SECONDS.labels(name).observe(seconds)
        for of, error in learner.progress.errors.items():
            for window, value in (("all", error.mean), ("recent", error.recent)):
                if value is None:
                    continue
                if of == MODEL:
                    metrics.ERROR.labels(name, window).set(value)
                else:
                    metrics.BASELINE_ERROR.labels(name, of, window).set(value)

    def dead(self, reason: str, count: int) -> None:
        """Examples cannot be used."""
        metrics.DEAD_LETTERS.labels(self._model, reason).inc(count)

    def snapshot(self, seconds: float) -> None:
        """Training stood still for a copy."""
        metrics.SNAPSHOT_SECONDS.labels(self._model).observe(seconds)

    def restored(self) -> None:
        """Weights were taken back."""
        metrics.RESTORED.labels(self._model).inc()

    def damaged(self, files: int) -> None:
        """Checkpoints were damaged."""
        metrics.DAMAGED.labels(self._model).inc(files)

    def refused(self, gate: str) -> None:
        """A gate kept a checkpoint from being published. Called from the publisher's thread."""
        metrics.REFUSED.labels(self._model, gate).inc()

    def put_back(self, chunks: int) -> None:
        """Chunks were lost, and put back. Called from the publisher's thread."""
        metrics.PUT_BACK.labels(self._model).inc(chunks)

    def published(self, result: Published, header: Header, seconds: float) -> None:
        """A checkpoint is known. Called from the publisher's thread."""
        metrics.CHECKPOINTS.labels(self._model).inc()
        metrics.VERSION.labels(self._model).set(result.version)
        metrics.CHECKPOINT_SECONDS.labels(self._model).observe(seconds)
        metrics.CHECKPOINT_BYTES.labels(self._model).set(result.file_bytes)
        metrics.WEIGHTS_BYTES.labels(self._model, "delta" if result.delta else "anchor").inc(result.weights_bytes)
        if header.newest_label_us:
            metrics.FRESHNESS.labels(self._model).observe(max(0.0, time.time() - header.newest_label_us / 1e6))


class TrainerApp:
    """The role `trainer`: one thread learns, one publishes."""

    def __init__(self, context: Context[TrainerSettings], pipeline: Pipeline, device: Device) -> None:
        self._context, self._settings, self._pipeline = context, context.settings, pipeline
        self._device = device
        context.ready.declare("training")

    async def run(self, stop: Stop) -> None:
        """Train until `stop`; then publish what was learned last."""
        await asyncio.to_thread(self._run, stop)

    def _run(self, stop: Stop) -> None:
        settings, name = self._settings, self._pipeline.model_name
        torch.set_num_threads(settings.torch_threads)
        if self._pipeline.spec.training.compile:
            check_compiler(self._device)  # before another trainer of the model is fenced
        announcer = KafkaAnnouncer(
            settings, name, self._pipeline.name, transaction_timeout_ms=settings.transaction_timeout_ms
        )
        examples = KafkaExamples(settings, self._pipeline.name, model=name, fetch=settings.fetch)
        lost_chunks = KafkaLostChunkReports(settings, name)
        store = open_store(settings)
        try:
            publisher = Publisher(
                CheckpointFolder(settings.storage_folder, name),
                store,
                announcer,
                keep=self._pipeline.spec.training.keep,
                signing_key=signing_key(settings),
                lineage=settings.lineage,
            )
            trainer = Trainer(
                self._pipeline,
                examples,
                publisher,
                PrometheusObserver(name),
                lost_chunks=lost_chunks,
                window=settings.window,
                warm_up=settings.warm_up,
                poll_s=settings.poll_s,
                device=self._device,
            )
            trainer.start()
            gc.freeze()  # what was imported stays: collections need not look at it again
            self._context.ready.set("training", True, f"from version {trainer.version}, epoch {trainer.epoch}")  # noqa: FBT003
            metrics.VERSION.labels(name).set(trainer.version)
            trainer.run(_Watch(stop, trainer, examples, name))
        finally:
            examples.close()
            lost_chunks.close()
            announcer.close()
            store.close()


class _Watch:
    """Asked before every step whether to stop; looks at the lag now and then."""

    def __init__(self, stop: Stop, trainer: Trainer, examples: KafkaExamples, name: str) -> None:
        self._stop, self._trainer, self._examples, self._name = stop, trainer, examples, name
        self._next = 0.0

    def __call__(self) -> bool:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + LAG_EVERY_S
            metrics.LAG.labels(self._name).set(self._examples.lag(self._trainer.batcher.positions))
        return self._stop.is_set()


def build(context: Context[TrainerSettings]) -> TrainerApp:
    """The role from its settings.

    Raises:
        ConfigError: no pipeline was named, or it cannot be loaded, or it has no such model; or this machine has no
            such device.
        DependencyError: the broker does not answer.
    """
    folder = context.settings.pipeline
    if folder is None:
        raise ConfigError("trainer: no pipeline", hint="--pipeline FOLDER")
    device = open_device(context.settings.device)
    defer_compiler()
    pipeline = load_pipeline(folder).of_model(context.settings.model)
    kafka.ensure_topics(context.settings, pipeline.topics)
    context.log.info("learning", model=pipeline.model_name, device=device.name)
    return TrainerApp(context, pipeline, device)
