"""Predictions as records for Kafka: the served ones for the sink, a shadow's for the shadows' topic."""

import time
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import NamedTuple

import msgspec

from headrace.contracts.records import TRACEPARENT, Prediction
from headrace.contracts.topics import PREDICTIONS, SHADOWS
from headrace.streams.chunks import Headers, Record, header, headers_named, timestamps_ms
from headrace.streams.delivery import Batch, Output
from services.inference.stream.decoding import BadRecord, Rows
from services.inference.stream.rounds import Answers, Maker

LONGEST = 512 * 1024
"""Bytes of a shadow's prediction at most: if the broker refused it, the transaction's served predictions would fail
too."""


class Predictions(NamedTuple):
    """The predictions of one chunk, in columns, and the records that they were made of."""

    partition: int
    records: Sequence[Record]
    keys: Sequence[str]
    values: Sequence[object]
    makers: Sequence[Maker]

    @classmethod
    def of(cls, rows: Rows, keys: Sequence[str], answers: Answers) -> "Predictions":
        """Those of this chunk's events that somebody predicted; `keys` and `answers` are the whole round's."""
        span, failed, partition = rows.span, answers.failed, rows.source.partition
        if not failed:
            return cls(partition, rows.records, keys[span], answers.values[span], answers.makers[span])
        kept = [i for i in range(span.start, span.stop) if i not in failed]
        return cls(
            partition,
            [rows.records[i - span.start] for i in kept],
            [keys[i] for i in kept],
            [answers.values[i] for i in kept],
            [answers.makers[i] for i in kept],
        )

    def structs(self) -> list[Prediction[object]]:
        """The records' contents."""
        if not self.records:
            return []
        models, versions, checkpoints = self._makers()
        sources = zip(repeat(self.partition), [record.offset() for record in self.records])
        at_us = repeat(time.time_ns() // 1000)
        times_ms = timestamps_ms(self.records)
        return [*map(Prediction, self.keys, self.values, models, versions, checkpoints, sources, times_ms, at_us)]

    def _makers(self) -> tuple[Iterable[str], Iterable[int], Iterable[str]]:
        """Who made each, in columns."""
        first = self.makers[0]
        if self.makers.count(first) == len(self.makers):
            return repeat(first[0]), repeat(first[1]), repeat(first[2])
        models, versions, checkpoints = zip(*self.makers, strict=True)
        return models, versions, checkpoints


class Writer:
    """Puts predictions into a round's output.

    Args:
        pipeline: its name.
        same_partitions: a served prediction goes to the partition of the event's number, which keeps the order of each
            key; where the two topics differ in their number of partitions, the key chooses.
        same_shadow_partitions: the same of shadows' predictions.
    """

    def __init__(self, pipeline: str, *, same_partitions: bool = True, same_shadow_partitions: bool = True) -> None:
        self._sink, self._shadows = PREDICTIONS.name(pipeline), SHADOWS.name(pipeline)
        self._same_partitions, self._same_shadow_partitions = same_partitions, same_shadow_partitions
        self._encoder = msgspec.json.Encoder()

    def serve(self, made: Predictions, output: Output) -> None:
        """Add one chunk's served predictions.

        Raises:
            Exception: a prediction cannot be encoded; the model's author chooses its type.
        """
        if not made.records:
            return
        values = self._encode_all(made.structs())
        where = made.partition if self._same_partitions else None
        keyed = [{"value": v, "key": r.key()} for v, r in zip(values, made.records, strict=True)]
        output.batches.append(Batch(self._sink, where, keyed, headers_named(made.records, TRACEPARENT)))

    def shadow(self, made: Predictions, output: Output) -> list[Exception | str]:
        """Add one chunk's predictions of a shadow, but for those that cannot be written: what was wrong with them."""
        structs = made.structs()
        try:
            values: Sequence[bytes | Exception] = self._encode_all(structs)
        except Exception:  # noqa: BLE001 - the model's author chooses what a prediction is; it is found one by one
            values = [self._encode_one(struct) for struct in structs]
        keyed, errors = [], list[Exception | str]()
        for value, record in zip(values, made.records, strict=True):
            if isinstance(value, Exception):
                errors.append(value)
            elif len(value) > LONGEST:
                errors.append(f"a prediction of {len(value)} bytes, of at most {LONGEST}")
            else:
                keyed.append({"value": value, "key": record.key()})
        if keyed:
            where = made.partition if self._same_shadow_partitions else None
            output.batches.append(Batch(self._shadows, where, keyed))
        return errors

    def _encode_all(self, structs: Sequence[Prediction[object]]) -> list[bytes]:
        """Each prediction's JSON, by one call.

        JSON has no line breaks of its own; where the author's `msgspec.Raw` has some, each prediction takes a call.
        """
        values = self._encoder.encode_lines(structs).split(b"\n")
        values.pop()  # after the last line's break
        return values if len(values) == len(structs) else [self._encoder.encode(struct) for struct in structs]

    def _encode_one(self, struct: Prediction[object]) -> bytes | Exception:
        try:
            return self._encoder.encode(struct)
        except Exception as error:  # noqa: BLE001 - as above
            return error


def trace_of(record: Record) -> Headers:
    """The headers that go on from an event to what is made of it."""
    trace = header(record, TRACEPARENT)
    return [] if trace is None else [(TRACEPARENT, trace)]


def failures_of(rows: Rows, answers: Answers) -> list[BadRecord]:
    """The records of this chunk that nobody predicted."""
    return [
        BadRecord(rows.records[i - rows.span.start], failed.step, failed.error)
        for i, failed in answers.failed.items()
        if rows.span.start <= i < rows.span.stop
    ]
