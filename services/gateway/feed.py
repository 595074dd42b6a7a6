"""Following the predictions: one live reader for all followers, and a reader for each follower that wants the past.

The first follower starts the live reader. A follower that wants the past first reads the topic to its end with a reader
of its own, at its own pace. Then it subscribes to the live reader, reads the few records that were written before it
subscribed, and goes on with its queue: it misses no record and receives none twice.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Protocol

from headrace.runtime.errors import HeadraceError
from headrace.runtime.logging import get_logger
from services.gateway.errors import BusyError, UnavailableError
from services.gateway.fanout import Choice, Fanout, Record, Subscriber, frame
from services.gateway.positions import Positions

log = get_logger("headrace.gateway")

Start = str
"""`latest`, `earliest`, or positions as text (services/gateway/positions.py)."""

_READ_S = 0.1
_IDLE_READS = 50  # reads without a follower after which the live reader is closed


class Reader(Protocol):
    """Reads the sink's committed records. Its methods block; one thread at a time uses it."""

    positions: Positions
    """The next offset of every partition."""

    @property
    def at_end(self) -> bool:
        """Whether it has reached the end of every partition since `open`."""
        ...

    def open(self, start: Start) -> None:
        """Begin at the start, the end, or at positions as text.

        Raises:
            HeadraceError: the broker does not answer.
            BadRequestError: `start` is none of these.
        """
        ...

    def read(self, timeout: float) -> list[Record]:
        """The records that arrive within `timeout` seconds."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class Feed:
    """Streams predictions to followers as server-sent events."""

    def __init__(self, make_reader: Callable[[], Reader], fanout: Fanout, *, max_replays: int) -> None:
        self._make_reader = make_reader
        self._fanout = fanout
        self._replays = asyncio.Semaphore(max_replays)
        self._followers = 0
        self._live: asyncio.Future[None] | None = None  # done once the live reader is open; None where there is none
        self._tasks: set[asyncio.Task[None]] = set()

    async def follow(self, start: Start, choice: Choice) -> AsyncGenerator[bytes]:
        """The chosen predictions from `start` on, until the gateway closes or drops the follower.

        It returns only after it has checked everything for which it may refuse. The caller must close the generator,
        whether it reads from it or not.

        Raises:
            BadRequestError: `start` is not a position.
            BusyError: there are too many followers.
            UnavailableError: the sink cannot be read.
        """
        self._followers += 1
        try:
            await self._ensure_live()
            replay = None if start == "latest" else await self._open_replay(start)
            subscriber = self._fanout.subscribe(choice) if replay is None else None
        except BaseException:
            self._followers -= 1
            raise
        frames = self._stream(replay, subscriber, choice)
        await anext(frames)  # begins the generator: closing one that was never begun does not run its `finally`
        return frames

    async def close(self) -> None:
        """End every follower's stream."""
        self._fanout.close("closed", "the gateway stops: reconnect with Last-Event-ID to go on")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _stream(
        self, replay: Reader | None, subscriber: Subscriber | None, choice: Choice
    ) -> AsyncGenerator[bytes]:
        try:
            if replay is not None:
                try:
                    yield b""
                    async for frames in self._past(replay, choice):
                        yield frames
                    await self._ensure_live()
                    subscriber = self._fanout.subscribe(choice, replay.positions)
                    async for frames in self._gap(replay, subscriber, choice):
                        yield frames
                finally:
                    self._replays.release()
                    await asyncio.to_thread(replay.close)
            else:
                yield b""
            while subscriber is not None and (frames := await subscriber.take()):
                yield frames
        finally:
            self._followers -= 1
            if subscriber is not None:
                self._fanout.unsubscribe(subscriber)

    async def _open_replay(self, start: Start) -> Reader:
        if self._replays.locked():
            raise BusyError("too many readers read past predictions already: try again in a moment")
        await self._replays.acquire()
        reader = self._make_reader()
        try:
            await asyncio.to_thread(reader.open, start)
        except BaseException as error:
            self._replays.release()
            await asyncio.to_thread(reader.close)
            if isinstance(error, HeadraceError):
                raise UnavailableError(str(error)) from error
            raise
        return reader

    async def _past(self, reader: Reader, choice: Choice) -> AsyncIterator[bytes]:
        at = dict(reader.positions)
        while not reader.at_end:
            for record in await asyncio.to_thread(reader.read, _READ_S):
                at[record.partition] = record.offset + 1
                if choice.takes(record):
                    yield frame(record, at)

    async def _gap(self, reader: Reader, subscriber: Subscriber, choice: Choice) -> AsyncIterator[bytes]:
        """The records between the end that the follower has read to and the start of its subscription."""
        at, until = dict(reader.positions), subscriber.start
        while any(reader.positions.get(partition, 0) < offset for partition, offset in until.items()):
            for record in await asyncio.to_thread(reader.read, _READ_S):
                if record.offset < until.get(record.partition, 0):
                    at[record.partition] = record.offset + 1
                    if choice.takes(record):
                        yield frame(record, at)

    # The live reader.

    async def _ensure_live(self) -> None:
        if self._live is None:
            self._live = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(self._read_live(self._live))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            await asyncio.shield(self._live)
        except HeadraceError as error:
            raise UnavailableError(str(error)) from error

    async def _read_live(self, opened: "asyncio.Future[None]") -> None:
        reader = self._make_reader()
        try:
            await asyncio.to_thread(reader.open, "latest")
            self._fanout.at = dict(reader.positions)
            opened.set_result(None)
            idle = 0
            while idle < _IDLE_READS:
                self._fanout.publish(await asyncio.to_thread(reader.read, _READ_S))
                idle = 0 if self._followers else idle + 1
            self._live = None
        except HeadraceError as error:
            self._live = None  # the next follower starts another
            log.warning("the predictions cannot be read", error=str(error))
            if not opened.done():
                opened.set_exception(error)
            self._fanout.close("error", "the predictions cannot be read: reconnect with Last-Event-ID to go on")
        finally:
            await asyncio.shield(asyncio.to_thread(reader.close))


def start_of(last_event_id: str | None, wanted: str | None) -> Start:
    """Where to start: after the last event that the client has received, else where it asks, else at the end."""
    return last_event_id or wanted or "latest"
