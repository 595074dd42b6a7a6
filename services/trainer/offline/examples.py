"""The examples of a training job, all of them in memory, in the order in which their labels became known."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from headrace.contracts.records import Example
from headrace.contracts.topics import EXAMPLES
from headrace.model.pipeline import Pipeline
from headrace.model.source import Item
from headrace.replay.files import read_files
from headrace.replay.sources import own_records
from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings
from headrace.runtime.topic_ranges import Offsets, offsets_of
from headrace.training.job import TrainingJob
from services.trainer.kafka import read
from services.trainer.offline.rows import AT_ONCE, LeftOut, Row, check_number, joined
from services.trainer.offline.sets import of_sets


@dataclass
class Examples:
    """N examples in the order of their labels.

    Attributes:
        features: shape [N, ...].
        labels: the label structs.
        weights: how much each counts in the loss.
        label_ms, event_ms: int64 [N], ms since the epoch (in files without times, the number of the label and 0).
        partitions, offsets: int64 [N].
        baselines: each baseline's errors, float64 [N], made before it learned from the example.
        left_out: what could not be used.
        ends: of a topic's range, where it ends.
        described: what they are, for the report.
    """

    features: torch.Tensor
    labels: list[Any]
    weights: list[float]
    label_ms: np.ndarray
    event_ms: np.ndarray
    partitions: np.ndarray
    offsets: np.ndarray
    baselines: dict[str, np.ndarray]
    left_out: LeftOut
    ends: Offsets
    described: dict[str, Any]

    def __len__(self) -> int:
        return len(self.labels)


def gather(
    job: TrainingJob, pipeline: Pipeline, settings: ServiceSettings, check: Callable[[], None] = lambda: None
) -> Examples:
    """Read a job's examples; `check` is called now and then, and may raise to stop.

    Raises:
        ConfigError: there are none, or more than the job allows, or what the job names does not exist.
        DependencyError: Kafka does not answer.
    """
    left_out, ends = LeftOut(), Offsets()
    if job.data == "topic":
        rows, ends, described = _of_topic(job, pipeline, settings, left_out)
    elif job.data == "datasets":
        rows, described = of_sets(job, pipeline, settings, left_out, check)
    else:
        rows, described = _of_records(job, pipeline, left_out, check)
    rows.sort(key=lambda row: (row.label_ms, row.partition, row.offset))
    features, good = _features(pipeline, rows, left_out, check)
    if not good:
        why = f", {left_out.count} could not be used: {left_out.reasons[0]}" if left_out.count else ""
        raise ConfigError(f"no example to train on{why}")

    def column(name: str) -> np.ndarray:
        return np.array([getattr(row, name) for row in good], np.int64)

    return Examples(
        features=features,
        labels=[row.label for row in good],
        weights=[row.weight for row in good],
        label_ms=column("label_ms"),
        event_ms=column("event_ms"),
        partitions=column("partition"),
        offsets=column("offset"),
        baselines=_baselines(pipeline, good, check),
        left_out=left_out,
        ends=ends,
        described=described,
    )


def _of_topic(
    job: TrainingJob, pipeline: Pipeline, settings: ServiceSettings, left_out: LeftOut
) -> tuple[list[Row], Offsets, dict[str, Any]]:
    topic = EXAMPLES.name(pipeline.name)
    starts, ends = offsets_of(settings, topic, job.start, job.end)
    check_number(sum(ends[p] - starts[p] for p in starts), job)
    decode, rows = pipeline.example_decoder.decode, list[Row]()
    for message in read(settings, topic, starts, ends):
        partition, offset = int(message.partition() or 0), int(message.offset() or 0)
        try:
            found: Example[Any, Any] = decode(message.value() or b"")
        except msgspec.DecodeError as error:
            left_out.add(f"{topic}[{partition}] at {offset}: {error}")
            left_out.offsets.setdefault(partition, []).append(offset)
        else:
            weight = found.importance
            rows.append(Row(found.label_ms, partition, offset, found.event_ms, found.event, found.label, weight))
    return rows, ends, {"topic": topic, "from": starts, "to": ends}


def _of_records(
    job: TrainingJob, pipeline: Pipeline, left_out: LeftOut, check: Callable[[], None]
) -> tuple[list[Row], dict[str, Any]]:
    if job.data == "files":
        types = (pipeline.model.event_type(), pipeline.model.label_type())
        events, labels = Path(job.events), Path(job.labels)
        items: Iterator[Item] = read_files(events, labels, types, job.time_field or None, job.form)
        described: dict[str, Any] = {"events": _file(events), "labels": _file(labels)}
    else:
        items = own_records(pipeline, job.options)
        described = {"source": pipeline.spec.source, "options": job.options}
    rows = list[Row]()
    for row in joined(items, pipeline, left_out):
        rows.append(row)
        if len(rows) == job.limit:
            break
        if len(rows) % AT_ONCE == 0:
            check()
            check_number(len(rows), job)
    check_number(len(rows), job)
    return rows, described


def _file(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        return {"file": str(path), "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _features(
    pipeline: Pipeline, rows: list[Row], left_out: LeftOut, check: Callable[[], None]
) -> tuple[torch.Tensor, list[Row]]:
    """Features of all rows whose events the model's code can take, and those rows."""
    parts, good = list[torch.Tensor](), list[Row]()
    waiting = deque(rows[i : i + AT_ONCE] for i in range(0, len(rows), AT_ONCE))
    while waiting:
        check()
        part = waiting.popleft()
        try:
            made = _made(pipeline, part)
        except Exception as error:  # noqa: BLE001 - the author's code may raise anything
            if len(part) == 1:
                left_out.add(f"features raises {type(error).__name__}: {error}, event {part[0].event!r:.200}", part[0])
            else:
                waiting.extendleft([part[len(part) // 2 :], part[: len(part) // 2]])
            continue
        finite = made.isfinite().flatten(1).all(dim=1) if made.is_floating_point() else torch.ones(len(made)).bool()
        for row, fine in zip(part, finite.tolist(), strict=True):
            if fine:
                good.append(row)
            else:
                left_out.add(f"features are not finite, event {row.event!r:.200}", row)
        parts.append(made[finite])
    return torch.cat(parts) if parts else torch.empty(0), good


def _made(pipeline: Pipeline, rows: list[Row]) -> torch.Tensor:
    made = pipeline.model.features([row.event for row in rows])
    if len(made) != len(rows):
        raise ValueError(f"features returned {len(made)} rows for {len(rows)} events")
    return made


def _baselines(pipeline: Pipeline, rows: list[Row], check: Callable[[], None]) -> dict[str, np.ndarray]:
    baselines, error = pipeline.model.baselines(), pipeline.model.error
    made = {name: np.full(len(rows), np.nan) for name in baselines}
    for i, row in enumerate(rows):
        if i % AT_ONCE == 0:
            check()
        for name, baseline in baselines.items():
            made[name][i] = error(baseline.predict(row.event), row.label)
            baseline.learn(row.event, row.label)
    return made
