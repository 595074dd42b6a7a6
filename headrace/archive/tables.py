"""The tables of an archive: which topic each keeps, and what its columns are.

Beside a record's own fields each row says where the record is on Kafka, and keeps one that could not be read as it
came, with the reason.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from headrace.archive.fields.decoding import Decoder
from headrace.archive.fields.types import Field, PipelineFields
from headrace.contracts import topics
from headrace.contracts.topics import TopicSpec

META = ("_partition", "_offset", "_at", "_key", "_raw", "_problem")
"""Of every row: partition, offset and time on Kafka, the key; of an unreadable record its bytes and what is wrong."""


@dataclass(frozen=True)
class Records:
    """Consecutive records of one partition, as columns: what is at the same index belongs together."""

    partition: int
    offsets: Sequence[int]
    at_ms: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]


@dataclass(frozen=True)
class Rows:
    """An Arrow table of records, how many of them could not be read, and the times that they span, in ms."""

    table: Any
    unreadable: int
    from_ms: int
    to_ms: int
    problem: str = ""
    """The first unreadable record, and what is wrong with it."""


Encoder = Callable[[Records], Rows]
Shape = Callable[[Any], Any]


class Table(Protocol):
    """What the archive keeps of one topic."""

    @property
    def name(self) -> str:
        """The table's."""
        ...

    @property
    def topic(self) -> str:
        """Whose records it holds."""
        ...

    def encoder(self) -> Encoder:
        """Records to rows."""
        ...

    def columns(self) -> Any:
        """The Arrow schema of its rows."""
        ...


@dataclass(frozen=True)
class RecordTable:
    """A table with a row for each record. `shape` makes its columns of the decoded fields."""

    name: str
    topic: str
    fields: tuple[Field, ...]
    shape: Shape

    def encoder(self) -> Encoder:
        """See `Table`."""
        decoder = Decoder(self.fields)
        return lambda records: _rows(self, decoder, records)

    def columns(self) -> Any:
        """See `Table`."""
        return self.encoder()(Records(0, (), (), (), ())).table.schema


def name_of(spec: TopicSpec) -> str:
    """The name of the table that keeps a topic."""
    return spec.pattern.rpartition(".")[2]


def pipeline_tables(pipeline: str, fields: PipelineFields) -> list[RecordTable]:
    """The tables of a pipeline's records."""

    def table(spec: TopicSpec, fields: Sequence[Field], shape: Shape = _shaped_prediction) -> RecordTable:
        return RecordTable(name_of(spec), spec.name(pipeline), tuple(fields), shape)

    made = (*_PREDICTION, fields.prediction)
    example = (*_EXAMPLE, Field("event", "struct", fields.event), Field("label", "struct", fields.label))
    return [
        table(topics.EVENTS, fields.event, _as_they_are),
        table(topics.LABELS, fields.label, _as_they_are),
        table(topics.PREDICTIONS, made),
        table(topics.SHADOWS, made),
        table(topics.EXAMPLES, [_text_if_needed(field) for field in example], _shaped_example),
    ]


_SOURCE = (Field("item", "int64"),)
_PREDICTION = (
    Field("key", "string"),
    Field("model", "string"),
    Field("version", "int64"),
    Field("checkpoint", "string"),
    Field("source", "list", _SOURCE),
    Field("event_ms", "int64"),
    Field("at_us", "int64"),
)
_EXAMPLE = (
    Field("key", "string"),
    Field("kind", "string"),
    Field("weight", "double"),
    Field("probability", "double"),
    Field("event_source", "list", _SOURCE),
    Field("label_source", "list", _SOURCE),
    Field("event_ms", "int64"),
    Field("label_ms", "int64"),
)


def _text_if_needed(field: Field) -> Field:
    return Field(field.name, "json") if field.holds_json or (field.kind == "struct" and not field.fields) else field


def _as_they_are(decoded: Any) -> Any:
    """A pipeline's own fields; one that is called as a column of ours gets an underscore more."""
    return decoded.rename_columns([f"{name}_" if name in META else name for name in decoded.column_names])


def _shaped_prediction(decoded: Any) -> Any:
    columns = {name: decoded[name] for name in ("key", "prediction", "model", "version", "checkpoint")}
    return {
        **columns,
        "event_partition": _item(decoded["source"], 0),
        "event_offset": _item(decoded["source"], 1),
        "event_at": _time(decoded["event_ms"], "ms"),
        "predicted_at": _time(decoded["at_us"], "us"),
    }


def _shaped_example(decoded: Any) -> Any:
    columns = {name: decoded[name] for name in ("key", "event", "label", "kind", "weight", "probability")}
    return {
        **columns,
        "event_partition": _item(decoded["event_source"], 0),
        "event_offset": _item(decoded["event_source"], 1),
        "label_partition": _item(decoded["label_source"], 0),
        "label_offset": _item(decoded["label_source"], 1),
        "event_at": _time(decoded["event_ms"], "ms"),
        "label_at": _time(decoded["label_ms"], "ms"),
    }


def _item(lists: Any, index: int) -> Any:
    """The item at that index of each list; null where the list is shorter or null."""
    import pyarrow.compute as pc

    longer = pc.greater(pc.list_value_length(lists), index)
    return pc.list_element(pc.if_else(longer, lists, _nothing(lists, index)), index)


def _nothing(lists: Any, index: int) -> Any:
    import pyarrow as pa

    return pa.scalar([None] * (index + 1), lists.type)


def _time(numbers: Any, unit: str) -> Any:
    import pyarrow as pa

    return numbers.cast(pa.timestamp(unit))


def _rows(table: RecordTable, decoder: Decoder, records: Records) -> Rows:
    import numpy as np
    import pyarrow as pa

    decoded = decoder.decode(records.values)
    shaped = table.shape(decoded.table)
    columns = shaped if isinstance(shaped, Mapping) else {name: shaped[name] for name in shaped.column_names}
    raw, wrong = _unreadable(records, decoded.problems)
    made = pa.table(
        {
            **columns,
            "_partition": pa.repeat(pa.scalar(records.partition, pa.int32()), len(records.values)),
            "_offset": pa.array(np.asarray(records.offsets, np.int64)),
            "_at": pa.array(np.asarray(records.at_ms, np.int64)).cast(pa.timestamp("ms")),
            "_key": pa.array([_readable(key) for key in records.keys], pa.string()),
            "_raw": raw,
            "_problem": wrong,
        }
    )
    first, where = min(decoded.problems, default=None), ""
    if first is not None:
        where = f"{table.topic}[{records.partition}]@{records.offsets[first]}: {decoded.problems[first]}"
    return Rows(made, len(decoded.problems), min(records.at_ms, default=0), max(records.at_ms, default=0), where)


def _unreadable(records: Records, problems: Mapping[int, str]) -> tuple[Any, Any]:
    """The columns of unreadable records' bytes, and of what is wrong with them."""
    import pyarrow as pa

    count = len(records.values)
    if not problems:
        return pa.nulls(count, pa.binary()), pa.nulls(count, pa.string())
    raw = [records.values[i] if i in problems else None for i in range(count)]
    return pa.array(raw, pa.binary()), pa.array([problems.get(i) for i in range(count)], pa.string())


def _readable(key: bytes | None) -> str | None:
    return None if key is None else key.decode(errors="replace")
