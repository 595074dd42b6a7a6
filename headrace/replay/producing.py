"""Producing records to a pipeline's topics: paced, in chunks, and every one acknowledged."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from headrace.model.source import BadRow, Item, Timed
from headrace.replay.pace import Pace, at_once
from headrace.runtime.errors import DataError, DependencyError

QUEUE = 100_000  # records in the client's queue before we wait
CHUNK = 2000  # records handed to the client at once
TICK_S = 0.005  # wake up this often at most: what became due in between goes together
STOP_CHECK_S = 0.1
FLUSH_S = 30.0
SHOWN_BAD_ROWS = 20
PRODUCER = {
    "queue.buffering.max.messages": 2 * QUEUE,
    "queue.buffering.max.kbytes": 1_048_576,
    "delivery.report.only.error": True,  # so that a record that is delivered costs no callback
    "log_level": 3,  # errors only: what the client retries by itself is not worth a line
}
"""Settings of the Kafka client behind a `KafkaOutlet`."""


class Outlet(Protocol):
    """Where records go: Kafka, or memory in tests."""

    def send(self, kind: str, records: list[tuple[bytes, bytes]]) -> None:
        """Take (key, value) pairs for the topic of `kind`, in order; may block while the client's queue is full."""
        ...

    def close(self) -> None:
        """Return when every record taken was acknowledged.

        Raises:
            DependencyError: some were not.
        """
        ...


@dataclass
class Counts:
    """What was produced."""

    events: int = 0
    labels: int = 0
    skipped: int = 0
    behind_s: float = 0.0
    """The most that a record went out after it was due."""
    bad_rows: list[BadRow] = field(default_factory=list)
    """The first few."""


@dataclass
class Producing:
    """Paces records and hands them on in chunks until the records, the limit or the stop ends it.

    `key_of` gives a record's key. With `strict` the first bad row ends it with a DataError.
    """

    outlet: Outlet
    key_of: Callable[[Any], str]
    pace: Pace = at_once
    limit: int | None = None
    strict: bool = False
    on_bad_row: Callable[[BadRow], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    stopped: bool = False
    counts: Counts = field(default_factory=Counts)

    def run(self, items: Iterable[Item]) -> Counts:
        """Produce `items`; on return everything was acknowledged.

        Raises:
            DataError: a bad row, and `strict`.
            DependencyError: Kafka did not take everything.
        """
        encode, paced = msgspec.json.Encoder().encode, self.pace is not at_once
        start, now = self.clock(), 0.0
        chunks: dict[str, list[tuple[bytes, bytes]]] = {"events": [], "labels": []}
        for record in self._good(items):
            due = self.pace(record)
            if due > now:
                self._send(chunks)
                now = self._wait(start, due)
            elif now - due > self.counts.behind_s:
                self.counts.behind_s = now - due
            if self.stopped:
                break
            chunks[record.kind].append((self.key_of(record.value).encode(), encode(record.value)))
            if len(chunks[record.kind]) >= CHUNK:
                self._send(chunks)
                now = self.clock() - start if paced else 0.0
        self._send(chunks)
        self.outlet.close()
        return self.counts

    def _good(self, items: Iterable[Item]) -> Iterator[Timed]:
        events = 0
        for item in items:
            if self.stopped:
                return
            if isinstance(item, BadRow):
                self._bad(item)
                continue
            if item.kind == "events":
                if events == self.limit:
                    return
                events += 1
            yield item

    def _bad(self, row: BadRow) -> None:
        if self.strict:
            raise DataError(str(row), hint="without --strict such rows are skipped and counted")
        self.counts.skipped += 1
        if len(self.counts.bad_rows) < SHOWN_BAD_ROWS:
            self.counts.bad_rows.append(row)
            self.on_bad_row(row)

    def _send(self, chunks: dict[str, list[tuple[bytes, bytes]]]) -> None:
        # Events before labels: a label in hand at the same time as its event must not be the first to arrive.
        for kind in ("events", "labels"):
            if chunks[kind]:
                self.outlet.send(kind, chunks[kind])
                setattr(self.counts, kind, getattr(self.counts, kind) + len(chunks[kind]))
                chunks[kind] = []

    def _wait(self, start: float, due: float) -> float:
        """Sleep until `due` or a stop; return the time since the start."""
        while (left := due - (now := self.clock() - start)) > 0 and not self.stopped:
            self.sleep(min(max(left, TICK_S), STOP_CHECK_S))
        return now


class KafkaOutlet:
    """To Kafka, idempotently, in order. Delivery is verified: the client reports failures, `close` waits for the rest.

    The client's queue must hold more than `QUEUE` and a chunk: a record that it refused would be overtaken by the next.
    """

    def __init__(self, producer: Any, topics: Mapping[str, str]) -> None:
        self._producer = producer
        self._topics = topics
        self._failure = ""
        self._taken = 0

    def send(self, kind: str, records: list[tuple[bytes, bytes]]) -> None:
        """Queue the records, once there is room."""
        while len(self._producer) > QUEUE:
            self._producer.poll(0.05)
            self._check()
        messages: list[dict[str, Any]] = [{"key": key, "value": value} for key, value in records]
        queued = self._producer.produce_batch(self._topics[kind], messages, on_delivery=self._delivered)
        self._taken += queued
        if queued < len(messages):
            refused = next(m["_error"] for m in messages if "_error" in m)
            raise DependencyError(f"{self._topics[kind]}: {len(messages) - queued} records were refused: {refused}")
        self._producer.poll(0)
        self._check()

    def close(self) -> None:
        """Flush, and check that nothing is left."""
        left = self._producer.flush(FLUSH_S)
        self._check()
        if left:
            raise DependencyError(
                f"{left} of {self._taken} records were not acknowledged within {FLUSH_S:.0f} s",
                hint="is the broker up?",
            )

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None and not self._failure:
            self._failure = f"{message.topic()}[{message.partition()}]: {error.str()} [{error.name()}]"

    def _check(self) -> None:
        if self._failure:
            raise DependencyError(f"a record was not delivered: {self._failure}", hint="is the broker up?")
