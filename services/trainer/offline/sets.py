"""The examples of a training job from data sets."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from headrace.model.pipeline import Pipeline
from headrace.runtime.settings import ServiceSettings
from headrace.training.job import TrainingJob
from services.trainer.offline.rows import AT_ONCE, LeftOut, Row, check_number, joined

if TYPE_CHECKING:
    from headrace.datasets.using.records import SetRecords


def of_sets(
    job: TrainingJob, pipeline: Pipeline, settings: ServiceSettings, left_out: LeftOut, check: Callable[[], None]
) -> tuple[list[Row], dict[str, Any]]:
    """The examples, and what they are, for the report and the lineage.

    A set whose rows are events with their labels gives an example a row; events and labels in sets of their own are
    joined by their keys.

    Raises:
        ConfigError: there is no such set, or its columns do not fit.
        DataError: its files are not what its manifest says.
    """
    from headrace.datasets.opening import open_catalogue
    from headrace.datasets.using.opened import OpenSet
    from headrace.datasets.using.records import SetRecords, records_of_sets

    catalogue = open_catalogue(settings)
    opened = [OpenSet.of(catalogue, name) for name in job.datasets]
    records = [SetRecords(pipeline, one, job.time_field) for one in opened]
    if all(one.has_events and one.has_labels for one in records):
        found: Iterator[Row] = chain.from_iterable(_examples(one, i, left_out) for i, one in enumerate(records))
    else:
        found = joined(records_of_sets(pipeline, opened, job.time_field), pipeline, left_out)
    rows = list[Row]()
    for row in found:
        rows.append(row)
        if len(rows) == job.limit:
            break
        if len(rows) % AT_ONCE == 0:
            check()
            check_number(len(rows), job)
    check_number(len(rows), job)
    return rows, {"datasets": [one.manifest.reference for one in opened]}


def _examples(records: "SetRecords", number: int, left_out: LeftOut) -> Iterator[Row]:
    """An example a row; its place is the set's number and the row's."""
    from headrace.datasets.using.structs import bad_rows

    for before, batch in records.batches():
        events, bad = records.events.read(batch)
        labels, bad_labels = records.labels.read(batch)
        bad = {**bad_labels, **bad}
        for _, row in bad_rows(records.name, before, bad):
            left_out.add(str(row))
        event_us = records.at_us(batch, before, label=False)
        label_us = records.at_us(batch, before, label=True)
        weights = batch.column(records.weight).to_pylist() if records.weight else [1.0] * batch.num_rows
        for i in range(batch.num_rows):
            if i not in bad:
                at = int(label_us[i]) // 1000 or before + i
                yield Row(at, number, before + i, int(event_us[i]) // 1000, events[i], labels[i], weights[i])
