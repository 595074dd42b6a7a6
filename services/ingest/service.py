"""Taking records in: check each against the schema, append the good ones, answer when the broker has them all.

REST and gRPC are thin edges over `Ingest.produce`; the broker is behind `RecordLog`.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import msgspec

from headrace.model.json_errors import DECODE_ERRORS, json_problem
from headrace.model.values import Check, number_check
from headrace.runtime.errors import DependencyError, HeadraceError
from services.ingest import metrics

Stream = Literal["events", "labels"]
STREAMS: tuple[Stream, ...] = ("events", "labels")


class UnknownPipelineError(HeadraceError):
    """This process does not serve that pipeline."""


class TooLargeError(HeadraceError):
    """A request is larger than allowed."""


class OverloadedError(HeadraceError):
    """Too many records wait for acknowledgement; the same request may succeed a moment later."""


class UnacknowledgedError(DependencyError):
    """The broker did not acknowledge all records in time. Those at `indexes` may or may not be in the topic."""

    def __init__(self, message: str, indexes: Sequence[int], acknowledged: int) -> None:
        super().__init__(message, hint="send those again; a record that arrives twice is joined once")
        self.indexes, self.acknowledged = indexes, acknowledged


class KeyedRecord(msgspec.Struct, frozen=True, array_like=True):
    """A record for the log."""

    key: bytes
    value: bytes


class RecordLog(Protocol):
    """Appends to topics."""

    async def append(self, topic: str, records: Sequence[KeyedRecord], traceparent: str | None) -> Mapping[int, str]:
        """Append and wait; return why records were not acknowledged, by position. Empty means that all are durable."""
        ...


@dataclass(frozen=True)
class StreamSchema:
    """One stream of a pipeline: its topic, its decoder, and the field that is its key."""

    topic: str
    decoder: msgspec.json.Decoder[Any]
    key: str

    @cached_property
    def check(self) -> Check:
        """What finds a number that a record may not hold; see `headrace.model.values`."""
        return number_check(self.decoder.type, from_json=True)

    @cached_property
    def json_schema(self) -> dict[str, Any]:
        """The JSON schema of a record."""
        return msgspec.json.schema(self.decoder.type, schema_hook=lambda _: {})

    def key_of(self, record: bytes) -> str:
        """The key of a record that fits.

        Raises:
            ValueError: it does not; the text names the field.
        """
        try:
            value = self.decoder.decode(record)
        except DECODE_ERRORS as error:
            raise ValueError(str(json_problem(record, error))) from error
        if (bad := self.check(value)) is not None:
            raise ValueError(str(bad))
        return str(getattr(value, self.key))


class Rejected(msgspec.Struct, frozen=True):
    """A record that was not taken: its position in the request, and why, the field first where it is one field."""

    index: int
    reason: str


class Outcome(msgspec.Struct, frozen=True):
    """What became of a request's records."""

    accepted: int
    rejected: list[Rejected]


class Ingest:
    """The logic behind every edge.

    Args:
        schemas: of every stream served, by (pipeline, stream).
        log: where records go.
        max_in_flight: records that may wait for acknowledgement at once.
        max_record_bytes: longer ones are rejected.
    """

    def __init__(
        self,
        schemas: Mapping[tuple[str, str], StreamSchema],
        log: RecordLog,
        *,
        max_in_flight: int,
        max_record_bytes: int,
    ) -> None:
        self._schemas, self._log = schemas, log
        self._max_in_flight, self._max_record_bytes = max_in_flight, max_record_bytes
        self.in_flight = 0

    def schema(self, pipeline: str, stream: str) -> StreamSchema:
        """The stream's schema.

        Raises:
            UnknownPipelineError: it is not served here.
        """
        found = self._schemas.get((pipeline, stream))
        if found is None:
            served = ", ".join(sorted({name for name, _ in self._schemas}))
            raise UnknownPipelineError(
                f"no pipeline {pipeline!r} with a stream {stream!r} here", hint=f"served: {served}"
            )
        return found

    async def produce(
        self,
        pipeline: str,
        stream: str,
        records: Sequence[bytes],
        *,
        traceparent: str | None = None,
        edge: str = "rest",
    ) -> Outcome:
        """Append the records that fit; return once the broker has acknowledged all of those.

        Raises:
            UnknownPipelineError: the pipeline is not served here.
            OverloadedError: too many records are in flight; nothing was appended.
            UnacknowledgedError: the broker did not acknowledge every good record in time.
        """
        started = time.perf_counter()
        schema = self.schema(pipeline, stream)
        good, indexes, rejected = self._check(schema, records)
        metrics.REQUEST_RECORDS.labels(pipeline).observe(len(records))
        metrics.REJECTED.labels(pipeline, stream).inc(len(rejected))
        if good:
            failed = await self._append(pipeline, schema.topic, good, traceparent)
            metrics.ACCEPTED.labels(pipeline, stream).inc(len(good) - len(failed))
            if failed:
                raise self._unacknowledged(pipeline, schema.topic, failed, indexes)
        metrics.REQUEST_SECONDS.labels(pipeline, edge).observe(time.perf_counter() - started)
        return Outcome(len(good), rejected)

    def _check(
        self, schema: StreamSchema, records: Sequence[bytes]
    ) -> tuple[list[KeyedRecord], list[int], list[Rejected]]:
        good: list[KeyedRecord] = []
        indexes: list[int] = []
        rejected: list[Rejected] = []
        for index, record in enumerate(records):
            if len(record) > self._max_record_bytes:
                reason = f"{len(record)} bytes; a record may have {self._max_record_bytes}"
                rejected.append(Rejected(index, reason))
                continue
            try:
                key = schema.key_of(record)
            except ValueError as error:
                rejected.append(Rejected(index, str(error)))
            else:
                good.append(KeyedRecord(key.encode(), bytes(record)))
                indexes.append(index)
        return good, indexes, rejected

    async def _append(
        self, pipeline: str, topic: str, good: Sequence[KeyedRecord], traceparent: str | None
    ) -> Mapping[int, str]:
        if self.in_flight + len(good) > self._max_in_flight and self.in_flight:
            metrics.OVERLOADED.labels(pipeline).inc()
            raise OverloadedError(
                f"{self.in_flight} records wait for the broker, {self._max_in_flight} may", hint="try again in a moment"
            )
        self.in_flight += len(good)
        metrics.IN_FLIGHT.set(self.in_flight)
        try:
            return await self._log.append(topic, good, traceparent)
        finally:
            self.in_flight -= len(good)
            metrics.IN_FLIGHT.set(self.in_flight)

    def _unacknowledged(
        self, pipeline: str, topic: str, failed: Mapping[int, str], indexes: Sequence[int]
    ) -> UnacknowledgedError:
        metrics.FAILED.labels(pipeline).inc(len(failed))
        missing = [indexes[i] for i in sorted(failed)]
        reason = next(iter(failed.values()))
        return UnacknowledgedError(
            f"{len(missing)} of {len(indexes)} records for {topic} were not acknowledged: {reason}",
            missing,
            len(indexes) - len(missing),
        )
