"""From the chunks of a round to events, in columns; a record that cannot be decoded is set aside."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

import msgspec

from headrace.deadletters.letters import Phase
from headrace.model.pipeline import Pipeline
from headrace.streams.chunks import Chunk, Partition, Record

Decode = Callable[[bytes], msgspec.Struct]


class BadRecord(NamedTuple):
    """A record that becomes a dead letter: the phase in which it failed, and why."""

    record: Record
    phase: Phase
    error: Exception | str


class Rows(NamedTuple):
    """The decoded records of one chunk; `span` is where their events stand among those of the round."""

    source: Partition
    records: Sequence[Record]
    span: slice


@dataclass
class Decoded:
    """The events of one round in columns, in the order of the chunks and of their records.

    `keys` are the events' keys as text. They are read before any model sees the events: a model that writes into an
    event cannot change the key of another model's prediction.
    """

    rows: list[Rows] = field(default_factory=list)
    events: list[msgspec.Struct] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    bad: list[BadRecord] = field(default_factory=list)


class Decoder:
    """Decodes the events of one pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._decode: Decode = pipeline.event_decoder.decode
        key = pipeline.model.key
        self._key = attrgetter(key)
        fields = msgspec.structs.fields(pipeline.model.event_type())
        self._key_is_text = any(field.name == key and field.type is str for field in fields)

    def decode(self, chunks: Sequence[Chunk]) -> Decoded:
        """The events of these chunks; raises nothing that the event's type raises."""
        decoded = Decoded()
        for chunk in chunks:
            records, events = self._decode_chunk(chunk, decoded.bad)
            start = len(decoded.events)
            decoded.events += events
            decoded.rows.append(Rows(chunk.source, records, slice(start, start + len(events))))
        keys = map(self._key, decoded.events)
        decoded.keys += keys if self._key_is_text else map(str, keys)
        return decoded

    def _decode_chunk(self, chunk: Chunk, bad: list[BadRecord]) -> tuple[Sequence[Record], list[msgspec.Struct]]:
        decode = self._decode
        try:
            return chunk.records, [decode(record.value()) for record in chunk.records]  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001 - a decode hook may raise anything; the record is found below
            records: list[Record] = []
            events: list[msgspec.Struct] = []
        for record in chunk.records:
            try:
                events.append(decode(record.value() or b""))
                records.append(record)
            except Exception as error:  # noqa: BLE001 - as above
                bad.append(BadRecord(record, "decode", error))
        return records, events
