"""A range of a topic to a set: exactly the committed records of the offsets, one row each.

A record's JSON object gives the columns. An example gives the event's fields and the label's; a field that both have is
`label.<name>` of the label, unless both have the same value in every row, as the key. Where a record stood is in
`_partition`, `_offset` and `_time`, its key in `_key`; of an example `_event_time`, `_label_time` and `_weight` too.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pyarrow as pa
from confluent_kafka import Message

from headrace.contracts.topics import EVENTS, EXAMPLES, LABELS, PREDICTIONS
from headrace.datasets.reading.converting import TIME
from headrace.datasets.reading.json_objects import JsonObjects, Row
from headrace.datasets.reading.port import Facts, Opening, Read
from headrace.model.json_errors import DECODE_ERRORS, json_problem
from headrace.model.source import BadRow
from headrace.runtime.settings import ServiceSettings
from headrace.runtime.topic_ranges import Offsets, read_range

PARTITION, OFFSET, AT, KEY = "_partition", "_offset", "_time", "_key"
EVENT_TIME, LABEL_TIME, WEIGHT = "_event_time", "_label_time", "_weight"
LABEL_PREFIX = "label."
_TIMES = (AT, EVENT_TIME, LABEL_TIME)


def holds(topic: str) -> str:
    """What a topic's records are, by its name: events, labels, examples, or "" for others."""
    for spec, kind in ((EVENTS, "events"), (LABELS, "labels"), (EXAMPLES, "examples")):
        pipeline, dot, _ = topic.rpartition(".")
        if dot and pipeline and spec.name(pipeline) == topic:
            return kind
    return ""


class TopicTable:
    """The records from `starts` to `ends`. See `headrace.datasets.reading.port.Input`.

    Raises:
        BadInput: members of one name are of two kinds.
        DependencyError: Kafka does not answer, or no longer has a record of the range.
    """

    def __init__(self, settings: ServiceSettings, topic: str, starts: Offsets, ends: Offsets, opening: Opening) -> None:
        self._topic, self._opening = topic, opening
        self._differing: set[str] = set()
        self._objects = JsonObjects(
            opening, "records", place=lambda partition, offset: f"{topic}[{partition}] at {offset}", where=topic
        )
        kind = holds(topic)
        unfold = _example if kind == "examples" else _prediction if topic.endswith(_suffix(PREDICTIONS)) else _plain
        self._objects.take(self._rows(read_range(settings, topic, starts, ends), unfold))
        found = self._objects.decide()
        kept = [f for f in found if f.name.removeprefix(LABEL_PREFIX) == f.name or f.name in self._differing]
        self.schema = pa.schema([pa.field(f.name, TIME if f.name in _TIMES else f.type) for f in kept])
        bounds = {str(p): [starts[p], ends[p]] for p in sorted(starts) if starts[p] < ends[p]}
        self.facts = Facts(details={"topic": topic, "offsets": bounds}, encoding="utf-8", time=AT)
        if kind == "examples":
            self.facts.time, self.facts.label_time = EVENT_TIME, LABEL_TIME
        self.total = self._objects.rows

    def read(self) -> Iterator[Read]:
        """See `Input.read`."""
        for read in self._objects.read():
            columns = [read.rows.column(f.name).cast(f.type) for f in self.schema]
            yield Read(pa.RecordBatch.from_arrays(columns, schema=self.schema), read.place)

    def _rows(
        self, batches: Iterator[list[Message]], unfold: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> Iterator[Row]:
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        for messages in batches:
            for message in messages:
                partition, offset = int(message.partition() or 0), int(message.offset() or 0)
                value = message.value() or b""
                try:
                    row = unfold(decode(value))
                except DECODE_ERRORS as error:
                    problem = json_problem(value, error)
                    self._opening.on_bad(BadRow(f"{self._topic}[{partition}] at {offset}", *problem))
                    continue
                except (KeyError, TypeError) as error:
                    place = f"{self._topic}[{partition}] at {offset}"
                    self._opening.on_bad(BadRow(place, "", f"not such a record: {error}"))
                    continue
                key = message.key()
                row |= {
                    PARTITION: partition, OFFSET: offset, AT: message.timestamp()[1] * 1000,
                    KEY: None if key is None else key.decode(errors="replace"),
                }  # fmt: skip
                self._compare(row)
                yield partition, offset, row

    def _compare(self, row: dict[str, Any]) -> None:
        """Note the label's fields that are not always the event's."""
        for name in row.keys() - self._differing:
            if name.startswith(LABEL_PREFIX) and row[name] != row.get(name.removeprefix(LABEL_PREFIX)):
                self._differing.add(name)


def _suffix(spec: Any) -> str:
    return str(spec.name("_")).removeprefix("_")


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    return record


def _prediction(record: dict[str, Any]) -> dict[str, Any]:
    """A prediction, whose source is two numbers."""
    made = dict(record)
    if isinstance(source := made.pop("source", None), list) and len(source) == 2:
        made |= {"event_partition": source[0], "event_offset": source[1]}
    return made


def _example(record: dict[str, Any]) -> dict[str, Any]:
    event, label = record["event"], record["label"]
    made = dict(event)
    for name, value in label.items():
        made[LABEL_PREFIX + name if name in event else name] = value
    weight = float(record.get("weight", 1.0)) / float(record.get("probability", 1.0))
    return made | {EVENT_TIME: record["event_ms"] * 1000, LABEL_TIME: record["label_ms"] * 1000, WEIGHT: weight}
