"""Gives the predictions of one reader to many subscribers, each with a bounded queue. It runs in the event loop."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from services.gateway import metrics, positions
from services.gateway.errors import BadRequestError, BusyError
from services.gateway.positions import Positions

MAX_KEYS = 1000
"""Keys that one subscriber may choose."""


@dataclass(frozen=True, slots=True)
class Record:
    """A prediction as it is stored on the sink."""

    partition: int
    offset: int
    key: bytes
    value: bytes


@dataclass(slots=True)
class Choice:
    """Which predictions a subscriber wants: those of some keys, of a model, or all. The keys may change meanwhile."""

    keys: frozenset[bytes] | None = None
    model: str | None = None

    def takes(self, record: Record) -> bool:
        """Whether the subscriber wants this record."""
        if self.keys is not None and record.key not in self.keys:
            return False
        return self.model is None or _model_of(record) == self.model


ALL = Choice()


def keys_of(wanted: Sequence[str]) -> frozenset[bytes]:
    """The keys of a choice.

    Raises:
        BadRequestError: there are too many.
    """
    if len(wanted) > MAX_KEYS:
        raise BadRequestError(f"{len(wanted)} keys where {MAX_KEYS} are the most")
    return frozenset(key.encode() for key in wanted)


class _Made(msgspec.Struct):
    """The only field of a prediction that the gateway reads."""

    model: str = ""


_DECODER = msgspec.json.Decoder(_Made)


def _model_of(record: Record) -> str:
    try:
        return _DECODER.decode(record.value).model
    except msgspec.DecodeError:
        return ""  # not a prediction of Headrace's, so of no model


def frame(record: Record, at: Positions) -> bytes:
    """A prediction as a server-sent event; `at` is the position after it."""
    head = f"id: {positions.render(at)}\nevent: prediction\ndata: "
    return head.encode() + record.value.replace(b"\n", b" ") + b"\n\n"


def notice(event: str, reason: str, at: Positions) -> bytes:
    """An event about the stream itself."""
    return f'id: {positions.render(at)}\nevent: {event}\ndata: {{"reason": "{reason}"}}\n\n'.encode()


class Subscriber:
    """A client that follows the predictions. Its frames wait in a queue; if that is full, the client is dropped."""

    def __init__(self, choice: Choice, limit: int, at: Positions, has: Positions) -> None:
        self._choice = choice
        self.start = dict(at)
        self._has = dict(has)
        self._limit = limit
        self._frames: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._last: bytes | None = None

    @property
    def open(self) -> bool:
        """Whether more frames may come."""
        return self._last is None

    def wants(self, record: Record) -> bool:
        """Whether it chose such records, and has not received this one yet."""
        return record.offset >= self._has.get(record.partition, 0) and self._choice.takes(record)

    def push(self, one: bytes) -> bool:
        """Queue a frame; False if the queue is full."""
        if len(self._frames) >= self._limit:
            return False
        self._frames.append(one)
        self._wake.set()
        return True

    def end(self, last: bytes) -> None:
        """End the stream with the frame `last`, even if the queue is full."""
        if self._last is None:
            self._last = last
            self._wake.set()

    async def take(self) -> bytes:
        """Wait for frames and return all that are queued, joined; b"" at the end of the stream."""
        while not self._frames and self._last is None:
            self._wake.clear()
            await self._wake.wait()
        taken = b"".join(self._frames)
        self._frames.clear()
        if self._last is not None and self._last:
            taken, self._last = taken + self._last, b""
        return taken


class Fanout:
    """The subscribers, and the position of the reader (`at`)."""

    def __init__(self, limit: int, max_subscribers: int) -> None:
        self._limit, self._max = limit, max_subscribers
        self._subscribers: set[Subscriber] = set()
        self.at: Positions = {}

    def __len__(self) -> int:
        return len(self._subscribers)

    def subscribe(self, choice: Choice = ALL, has: Positions | None = None) -> Subscriber:
        """Add a subscriber, which receives records from `self.at` on.

        Args:
            choice: which records it wants.
            has: it has received all records below these positions already; they may be ahead of the live reader.

        Raises:
            BusyError: there are `max_subscribers` already.
        """
        if len(self._subscribers) >= self._max:
            raise BusyError(f"{self._max} readers follow the predictions already, which is the most")
        subscriber = Subscriber(choice, self._limit, self.at, has or {})
        self._subscribers.add(subscriber)
        metrics.SUBSCRIBERS.inc()
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Remove a subscriber."""
        if subscriber in self._subscribers:
            self._subscribers.remove(subscriber)
            metrics.SUBSCRIBERS.dec()

    def publish(self, records: Iterable[Record]) -> None:
        """Queue records for every subscriber that chose them; drop subscribers whose queue is full."""
        for record in records:
            self.at[record.partition] = record.offset + 1
            one = frame(record, self.at)
            for subscriber in list(self._subscribers):
                if not subscriber.wants(record):
                    continue
                if subscriber.push(one):
                    metrics.STREAMED.inc()
                else:
                    self._drop(subscriber, record)

    def _drop(self, subscriber: Subscriber, record: Record) -> None:
        resume = {**self.at, record.partition: record.offset}
        subscriber.end(notice("dropped", "too slow: reconnect with Last-Event-ID to go on from here", resume))
        self.unsubscribe(subscriber)
        metrics.DROPPED.inc()

    def close(self, event: str, reason: str) -> None:
        """End every subscriber's stream."""
        for subscriber in list(self._subscribers):
            subscriber.end(notice(event, reason, self.at))
            self.unsubscribe(subscriber)
