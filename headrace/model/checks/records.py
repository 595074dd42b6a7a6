"""Checks of the data: the source's samples, the order and the keys of what it replays, and JSON."""

import math
from collections.abc import Iterable
from itertools import islice
from typing import Any

from headrace.model.checks.pipeline_check import BATCH, SEARCHED, Broken, PipelineCheck
from headrace.model.round_trip import RoundTrip
from headrace.model.source import BadRow, Item, Timed


def check_sample(check: PipelineCheck) -> str:
    """The source gives events of the right type for `sample`."""
    if check.records is not None:
        return "records come from files"
    if check.pipeline.spec.source is None:
        raise Broken("pipeline.yaml names no source to take sample events from; give --events and --labels")
    kind = check.pipeline.model.event_type()
    sample = check.pipeline.source().sample(BATCH)
    wrong = [type(value).__name__ for value in sample if not isinstance(value, kind)]
    if wrong or not sample:
        raise Broken(
            f"source.sample({BATCH}) gave {wrong[0] if wrong else 'nothing'}, expected {kind.__name__} structs"
        )
    return f"{len(sample)} x {kind.__name__}"


def check_records(check: PipelineCheck) -> str:
    """Records come in order of time, keys are unique, each label follows its event.

    A source is read until there are enough labels, files further on, since their rows are what is asked about.
    """
    events: dict[str, Any] = {}
    before = -math.inf
    records: Iterable[Item] = check.pipeline.source().replay() if check.records is None else check.records
    for item in islice(records, SEARCHED):
        record = _record(item)
        check.read.append(record)
        if not (before <= record.at < math.inf):
            raise Broken(f"record {len(check.read)} is at {record.at}, before the one in front of it at {before}")
        before = record.at
        _add(check, events, record)
        if len(check.labels) == BATCH and check.records is None:
            break
    if not check.labels:
        hint = "" if check.records is None else "; give their file by --labels"
        raise Broken(f"no label among the first {len(check.read):,} records, so the model cannot be tried{hint}")
    return f"{len(check.labels)} labelled events among the first {len(check.read):,} records, in order"


def _record(item: Item) -> Timed:
    if isinstance(item, BadRow):
        raise Broken(str(item))
    return item


def _add(check: PipelineCheck, events: dict[str, Any], record: Timed) -> None:
    model, value = check.pipeline.model, record.value
    expected = model.event_type() if record.kind == "events" else model.label_type()
    if not isinstance(value, expected):
        raise Broken(f"a record of kind {record.kind!r} holds a {type(value).__name__}, expected {expected.__name__}")
    key = model.key_of(value)
    if record.kind == "events" and key in events:
        raise Broken(f"two events have the {model.key} {key!r}: it must be unique")
    if record.kind == "events":
        events[key] = value
    elif key not in events:
        raise Broken(f"a label with the {model.key} {key!r} comes before any such event")
    elif len(check.labels) < BATCH:
        check.events.append(events[key])
        check.labels.append(value)


def check_json(check: PipelineCheck) -> str:
    """Every record that was read survives JSON, as it travels in it."""
    pipeline = check.pipeline
    trips = {"events": RoundTrip(pipeline.event_decoder), "labels": RoundTrip(pipeline.label_decoder)}
    for number, record in enumerate(check.read, 1):
        if (bad := trips[record.kind].problem(record.value)) is not None:
            raise Broken(f"record {number}, {type(record.value).__name__}.{bad}")
    return f"{type(check.events[0]).__name__} and {type(check.labels[0]).__name__} as JSON and back"
