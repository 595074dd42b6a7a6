"""Publishing what a job has trained, so that the live trainer goes on from it at the right offsets.

Opening the announcer fences the live trainer, whose next publication fails; whoever supervises it starts it again, and
it resumes from the newest checkpoint, which is the one of here. If this process dies before the checkpoint's file is
written, the live trainer goes on from its own; after that, the next trainer announces the file.
"""

import time
from collections.abc import Mapping

import msgspec
import numpy as np

from headrace.contracts.events_pb2 import CheckpointPublished
from headrace.contracts.topics import EXAMPLES
from headrace.model.pipeline import Pipeline
from headrace.runtime.settings import ServiceSettings
from headrace.weights import open_store, signing_key
from services.trainer import randomness
from services.trainer.checkpoint import Checkpoint, CheckpointFolder, Header, Learning
from services.trainer.kafka import KafkaAnnouncer, KafkaExamples
from services.trainer.offline.examples import Examples
from services.trainer.offline.fitting import Fitted
from services.trainer.origin import origin_of
from services.trainer.publishing import Publisher, Resumed

_TRANSACTION_MS = 10_000


def hand_over(
    pipeline: Pipeline,
    settings: ServiceSettings,
    examples: Examples,
    fitted: Fitted,
    *,
    metrics: Mapping[str, float],
    job: str,
    held: bool = False,
    once_since_us: int | None = None,
) -> tuple[int, dict[int, int]]:
    """Publish the best epoch's weights as made by a job; returns the version, and where the live trainer goes on.

    A version that is `held` is not served until an operator says so. With `once_since_us`, a version that this job was
    published as since then is returned as it is: the job's name must be its alone.

    That is the end of the range that was trained on; for examples that are no range of the topic, where the live
    trainer stands, or the topic's beginning where there was none.

    Raises:
        FencedError: another trainer has taken over meanwhile.
        WeightsError, DependencyError: storage refuses, or Kafka does not answer.
    """
    name = pipeline.model_name
    announcer = KafkaAnnouncer(settings, name, pipeline.name, transaction_timeout_ms=_TRANSACTION_MS)
    store = open_store(settings)
    try:
        folder = CheckpointFolder(settings.storage_folder, name)
        keep = pipeline.spec.training.keep
        publisher = Publisher(folder, store, announcer, keep=keep, signing_key=signing_key(settings))
        resumed = publisher.resume()
        if once_since_us is not None and (before := _published(announcer, job, once_since_us)) is not None:
            return before.version, {o.partition: o.offset for o in before.offsets}
        offsets = examples.ends or _offsets_of_live(pipeline, settings, resumed)
        header = _header(pipeline, examples, resumed, offsets)
        data = msgspec.json.encode(examples.described).decode()
        origin = {**origin_of(pipeline), "job": job, "data": data}
        header = msgspec.structs.replace(
            header, step=fitted.best_steps, metrics=dict(metrics), origin=origin, held=held
        )
        if sets := examples.described.get("datasets"):
            # Before the version is known to anybody: from now on retention keeps what it comes from.
            from headrace.datasets.opening import open_catalogue
            from headrace.datasets.retention import mark_use

            mark_use(open_catalogue(settings), sets, name, header.version)
        publisher.publish_checkpoint(Checkpoint(header, fitted.weights, fitted.optimizer, randomness.state()))
    finally:
        announcer.close()
        store.close()
    return header.version, offsets


def _published(announcer: KafkaAnnouncer, job: str, since_us: int) -> CheckpointPublished | None:
    """The version that a job was published as; `Publisher.resume` has announced one that was left unannounced."""
    return next((event for event in announcer.announced(since_us) if event.origin.get("job") == job), None)


def _offsets_of_live(pipeline: Pipeline, settings: ServiceSettings, resumed: Resumed) -> dict[int, int]:
    if resumed.checkpoint is not None:
        return dict(resumed.checkpoint.header.offsets)
    log = KafkaExamples(settings, pipeline.name, model=pipeline.model_name, fetch=1)
    try:
        return log.begin()
    finally:
        log.close()


def _header(pipeline: Pipeline, examples: Examples, resumed: Resumed, offsets: dict[int, int]) -> Header:
    spec = pipeline.spec.training
    ranged = bool(examples.ends)
    window = _window(examples, spec.replay.window) if spec.replay is not None and ranged else {}
    bad = examples.left_out.offsets
    return Header(
        model=pipeline.model_name,
        version=resumed.next_version,
        base_version=0,
        epoch=resumed.epoch,
        step=0,
        examples=len(examples),
        topic=EXAMPLES.name(pipeline.name),
        offsets=offsets,
        partitions=sorted(offsets),
        batches=[],
        newest_label_us=int(examples.label_ms[-1]) * 1000 if ranged else 0,
        created_at=time.time_ns() // 1000,
        metrics={},
        progress={},
        learning=Learning(
            window=window, left_out={p: [o for o in bad[p] if o >= first] for p, first in window.items() if p in bad}
        ),
    )


def _window(examples: Examples, size: int) -> dict[int, int]:
    """Partition → first offset of the newest examples, which the live trainer samples from."""
    newest = slice(max(0, len(examples) - size), None)
    partitions, offsets = examples.partitions[newest], examples.offsets[newest]
    return {int(p): int(offsets[partitions == p].min()) for p in np.unique(partitions)}
