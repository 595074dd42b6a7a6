"""Composition of one rank: a process that torchrun, or the role's main process, has started."""

import asyncio
import os
from contextlib import ExitStack

import torch

from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.runtime import kafka
from headrace.runtime.devices.choosing import open_device
from headrace.runtime.errors import ConfigError
from headrace.runtime.lifecycle import Context, Stop
from headrace.weights import open_store, signing_key
from services.trainer import metrics
from services.trainer.app import PrometheusObserver
from services.trainer.checkpoint import CheckpointFolder
from services.trainer.kafka import KafkaAnnouncer, KafkaExamples, KafkaLostChunkReports
from services.trainer.publishing import Publisher
from services.trainer.ranks.group import Group
from services.trainer.ranks.publishing import RankPublisher
from services.trainer.ranks.trainer import RankTrainer, check
from services.trainer.settings import TrainerSettings

READY_FD = "HEADRACE_RANK_READY_FD"
"""The environment variable with the pipe on which a rank tells the main process that it trains."""


class RankExamples(KafkaExamples):
    """The partitions of one rank: p belongs to rank p % size."""

    def __init__(self, settings: TrainerSettings, pipeline: str, *, model: str, group: Group) -> None:
        self._ranks = group
        super().__init__(settings, pipeline, model=model, fetch=settings.fetch)

    def _bounds(self) -> dict[int, tuple[int, int]]:
        bounds = super()._bounds()
        if len(bounds) < self._ranks.size:
            raise ConfigError(
                f"ranks: {self._ranks.size} ranks, but {self.topic} has {len(bounds)} partitions",
                hint="a rank needs a partition",
            )
        return {p: bound for p, bound in bounds.items() if p % self._ranks.size == self._ranks.rank}


class RankApp:
    """The role `trainer` as one of several ranks."""

    def __init__(self, context: Context[TrainerSettings], pipeline: Pipeline) -> None:
        self._context, self._settings, self._pipeline = context, context.settings, pipeline
        self._parent = os.getppid()
        context.ready.declare("training")

    async def run(self, stop: Stop) -> None:
        """Train until `stop`, in this rank or another, or until the process that started it is gone."""
        await asyncio.to_thread(self._run, stop)

    def _run(self, stop: Stop) -> None:
        settings = self._settings
        torch.set_num_threads(settings.torch_threads)
        with ExitStack() as stack:
            group = Group(settings.rank_timeout_s)
            stack.callback(group.close)
            trainer = self._trainer(group, stack)
            trainer.start()
            self._context.ready.set("training", True, f"rank {group.rank} of {group.size}, epoch {trainer.epoch}")  # noqa: FBT003
            metrics.VERSION.labels(self._pipeline.model_name).set(trainer.version)
            if READY_FD in os.environ:
                os.write(int(os.environ[READY_FD]), b"r")
            trainer.run(lambda: stop.is_set() or os.getppid() != self._parent)

    def _trainer(self, group: Group, stack: ExitStack) -> RankTrainer:
        settings, name, pipeline = self._settings, self._pipeline.model_name, self._pipeline
        store = open_store(settings)
        stack.callback(store.close)
        first, lost = None, None
        if group.rank == 0:
            announcer = KafkaAnnouncer(
                settings, name, pipeline.name, transaction_timeout_ms=settings.transaction_timeout_ms
            )
            stack.callback(announcer.close)
            lost = KafkaLostChunkReports(settings, name)
            stack.callback(lost.close)
            folder = CheckpointFolder(settings.storage_folder, name)
            keep = pipeline.spec.training.keep
            first = Publisher(folder, store, announcer, keep=keep, signing_key=signing_key(settings))
        examples = RankExamples(settings, pipeline.name, model=name, group=group)
        stack.callback(examples.close)
        return RankTrainer(
            pipeline, examples, RankPublisher(group, store, first), PrometheusObserver(name), group,
            lost_chunks=lost, window=settings.window, warm_up=settings.warm_up, poll_s=settings.poll_s,
        )  # fmt: skip


def checked_pipeline(settings: TrainerSettings) -> Pipeline:
    """The pipeline that several ranks are to train.

    Raises:
        ConfigError: none was named, it cannot be loaded, or a setting is one that ranks do not support.
    """
    if settings.pipeline is None:
        raise ConfigError("trainer: no pipeline", hint="--pipeline FOLDER")
    if settings.device != "cpu":
        raise ConfigError(f"device {settings.device}: several ranks learn on cpu")
    open_device(settings.device)
    pipeline = load_pipeline(settings.pipeline).of_model(settings.model)
    check(pipeline)
    return pipeline


def build_rank(context: Context[TrainerSettings]) -> RankApp:
    """One rank from its settings and torchrun's environment. Raises: as `checked_pipeline`."""
    pipeline = checked_pipeline(context.settings)
    kafka.ensure_topics(context.settings, pipeline.topics)
    return RankApp(context, pipeline)
