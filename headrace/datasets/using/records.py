"""Sets as records of a pipeline: events and labels with the time at which each became known, merged by it.

A set holds events, labels, or both in each row, by the columns that it has. The time is its column `time`, of labels
`label_time`; where none is named, or another is asked for, rows come in the order of the set.
"""

import heapq
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import pyarrow as pa

from headrace.datasets.errors import BadInput
from headrace.datasets.reading.topic import WEIGHT
from headrace.datasets.using.opened import OpenSet
from headrace.datasets.using.structs import StructReader, bad_rows
from headrace.datasets.using.times import check_time, micros
from headrace.model.pipeline import Pipeline
from headrace.model.source import BadRow, Item, Kind, Timed


class SetRecords:
    """The records of one set.

    Args:
        pipeline: whose.
        opened: the set.
        time_field: the column of both times, instead of the set's own; "" takes those.

    Raises:
        BadInput: the set has neither the columns of events nor those of labels, or a time is none.
    """

    def __init__(self, pipeline: Pipeline, opened: OpenSet, time_field: str = "") -> None:
        self.opened, self.name = opened, opened.manifest.set
        schema, holds = opened.schema, opened.manifest.holds
        model = pipeline.model
        self.events = StructReader(model.event_type(), schema, label=False)
        self.labels = StructReader(model.label_type(), schema, label=True)
        self.has_events = not self.events.missing and holds != "labels"
        self.has_labels = not self.labels.missing and holds != "events"
        if not (self.has_events or self.has_labels):
            lacks = "; ".join(
                f"{kind} lack {', '.join(reader.missing)}"
                for kind, reader in (("events", self.events), ("labels", self.labels))
                if reader.missing
            )
            raise BadInput(
                f"{self.name}: neither events nor labels of {pipeline.name}: {lacks or f'it holds {holds}'}",
                hint=f"it has {', '.join(schema.names[:30])}",
            )
        own = opened.manifest
        self.time = time_field or own.time
        self.label_time = time_field or own.label_time or self.time
        for name in {self.time, self.label_time} - {""}:
            check_time(schema, name, self.name)
        self.weight = WEIGHT if WEIGHT in schema.names else ""

    def batches(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The rows before each batch, and the columns that are needed."""
        names = [*self.events.columns, *self.labels.columns, self.time, self.label_time, self.weight]
        before = 0
        for batch in self.opened.batches(list(dict.fromkeys(name for name in names if name))):
            yield before, batch
            before += batch.num_rows

    def at_us(self, batch: pa.RecordBatch, before: int, *, label: bool) -> np.ndarray:
        """When each row's event, or label, became known, µs since the epoch; 0 where nothing says it."""
        name = self.label_time if label else self.time
        return micros(batch.column(name), name, before + 1) if name else np.zeros(batch.num_rows, np.int64)

    def items(self, kind: Kind) -> Iterator[Item]:
        """Its events, or its labels, in the order of its rows; a BadRow in the place of each that is none."""
        label = kind == "labels"
        reader = self.labels if label else self.events
        for before, batch in self.batches():
            made, bad = reader.read(batch)
            at = self.at_us(batch, before, label=label)
            wrong = dict(bad_rows(self.name, before, bad))
            for i, value in enumerate(made):
                yield wrong[i] if i in wrong else Timed(int(at[i]) / 1e6, kind, value)


def records_of_sets(pipeline: Pipeline, opened: Sequence[OpenSet], time_field: str = "") -> Iterator[Item]:
    """Events and labels of the sets, merged by time; each set's in the order of its rows where it has no times.

    A set whose rows are not in the order of time must be put in order first, by a query; it is refused.

    Raises:
        BadInput: a set has no records of the pipeline, or they are not in order.
    """
    records = [SetRecords(pipeline, one, time_field) for one in opened]
    streams: list[Iterator[Item]] = []
    for one in records:
        streams += [_ordered(one, "events")] if one.has_events else []
        streams += [_ordered(one, "labels")] if one.has_labels else []
    if not all(one.time for one in records):
        return chain.from_iterable(streams)
    return (item for _, item in heapq.merge(*map(_keyed, streams), key=lambda pair: pair[0]))


def _keyed(items: Iterator[Item]) -> Iterator[tuple[float, Item]]:
    at = 0.0
    for item in items:
        at = at if isinstance(item, BadRow) else item.at
        yield at, item


def _ordered(records: SetRecords, kind: Kind) -> Iterator[Item]:
    """Labels of a set that is ordered by its events' time are put in order here: they are held until their time."""
    items = records.items(kind)
    if kind == "labels" and records.label_time != records.time:
        return iter(sorted(items, key=lambda item: 0.0 if isinstance(item, BadRow) else item.at))
    return _checked(items, records)


def _checked(items: Iterator[Item], records: SetRecords) -> Iterator[Item]:
    before = -np.inf
    for number, item in enumerate(items, 1):
        if not isinstance(item, BadRow):
            if item.at < before:
                raise BadInput(
                    f"{records.name}, row {number}: its {records.time} is before that of the row in front of it",
                    hint=f"put it in order: headrace datasets import NAME --query, with `order by {records.time}`",
                )
            before = item.at
        yield item
