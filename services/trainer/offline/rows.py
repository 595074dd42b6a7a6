"""Examples of a training job one by one: where each stands, which were left out, events joined with their labels."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from headrace.model.pipeline import Pipeline
from headrace.model.source import BadRow, Item
from headrace.runtime.errors import ConfigError
from headrace.training.job import TrainingJob

AT_ONCE = 4096
TOLD = 20
"""Reasons that are kept of examples left out."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """An example, and where it stands: partition and offset, or its number in files."""

    label_ms: int
    partition: int
    offset: int
    event_ms: int
    event: Any
    label: Any
    weight: float = 1.0


class LeftOut:
    """Counts examples that could not be used, and keeps what was wrong with the first ones."""

    def __init__(self) -> None:
        self.count = 0
        self.reasons: list[str] = []
        self.offsets: dict[int, list[int]] = {}

    def add(self, reason: str, row: Row | None = None) -> None:
        """One more."""
        self.count += 1
        if len(self.reasons) < TOLD:
            self.reasons.append(reason)
        if row is not None:
            self.offsets.setdefault(row.partition, []).append(row.offset)


def joined(items: Iterable[Item], pipeline: Pipeline, left_out: LeftOut) -> Iterator[Row]:
    """Events with the labels of their keys, whichever comes first, in the order of labels; the first of each counts."""
    key_of, events, labels = pipeline.model.key_of, dict[str, tuple[int, Any]](), dict[str, tuple[int, Any]]()
    number = 0
    for item in items:
        if isinstance(item, BadRow):
            left_out.add(str(item))
            continue
        key, at = key_of(item.value), int(item.at * 1000)
        own, other = (events, labels) if item.kind == "events" else (labels, events)
        if key not in other:
            own.setdefault(key, (at, item.value))
            continue
        other_at, value = other.pop(key)
        event, label = (item.value, value) if item.kind == "events" else (value, item.value)
        event_ms, label_ms = (at, other_at) if item.kind == "events" else (other_at, at)
        yield Row(label_ms or number, 0, number, event_ms, event, label)
        number += 1


def check_number(count: int, job: TrainingJob) -> None:
    """Raise `ConfigError` if there are more examples than the job allows."""
    if count > job.max_examples:
        raise ConfigError(
            f"more than {job.max_examples} examples",
            hint="choose a smaller range, or raise max_examples and the memory",
        )
