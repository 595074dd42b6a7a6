"""Keeps requests in flight on some connections: so many at once, or on a schedule."""

import asyncio
import time
from array import array
from collections import deque
from typing import Protocol

from benchmarks.serving.load.answers import Checker
from benchmarks.serving.load.http1 import Http1
from benchmarks.serving.load.http2 import Grpc
from benchmarks.serving.load.plan import Outcome, Plan

_PATIENCE_S = 20.0


class Connection(Protocol):
    """What `Http1` and `Grpc` have in common."""

    room: int
    busy: int

    def send(self, request: int, tag: float) -> None: ...  # noqa: D102
    def flush(self) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Drive:
    """One plan, from connecting to the last answer."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._checker = Checker(plan.form, plan.answers, by_version=plan.by_version)
        self._connections: list[Connection] = []
        self._next = self._sent = 0
        self._failures, self._first_failure = 0, ""
        self._due, self._took = array("d"), array("d")
        self._counted_from = self._end = 0.0
        self._over = asyncio.Event()
        self._waiting: deque[float] = deque()
        """When requests were due for which no connection had room."""

    async def run(self, begin_s: float) -> Outcome:
        """Send from `begin_s` of the monotonic clock, check and count.

        When time is over, wait for what is in flight.
        """
        self._counted_from = begin_s + self._plan.warm_up_s
        self._end = self._counted_from + self._plan.seconds
        await asyncio.sleep(max(0.0, begin_s - time.monotonic()))
        cpu, wall = time.process_time(), time.monotonic()
        if self._plan.rate:
            asyncio.get_running_loop().call_soon(self._offer, begin_s)
        else:
            self._fill()
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + self._end - wall + _PATIENCE_S):
            await self._over.wait()
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        for connection in self._connections:
            connection.close()
        return Outcome(
            sent=self._sent, answered=len(self._took), decoded=self._checker.decoded, failures=self._failures,
            first_failure=self._first_failure, due_s=self._due.tobytes(), took_s=self._took.tobytes(), cpu_s=cpu,
            wall_s=wall, versions=self._checker.versions,
        )  # fmt: skip

    async def connect(self) -> None:
        """Open the connections."""
        plan, loop = self._plan, asyncio.get_running_loop()
        room = -(-plan.in_flight // plan.connections)
        for _ in range(plan.connections):
            made = self._grpc(room) if plan.http2 else Http1(plan.requests, self._checker, self._answered, self._failed)
            await loop.create_connection(lambda made=made: made, plan.host, plan.port)
            self._connections.append(made)

    def _grpc(self, room: int) -> Grpc:
        plan = self._plan
        return Grpc(plan.path, plan.requests, self._checker, self._answered, self._failed, room=room)

    def _send(self, connection: Connection, due: float) -> None:
        self._next = (self._next + 1) % len(self._plan.requests)
        self._sent += 1
        connection.send(self._next, due)

    def _fill(self) -> None:
        """As many at once as are planned, spread over the connections."""
        for n in range(self._plan.in_flight):
            self._send(self._connections[n % len(self._connections)], time.monotonic())
        for connection in self._connections:
            connection.flush()

    def _offer(self, due: float) -> None:
        """Send what is due by now, and come back."""
        now, gap, loop = time.monotonic(), 1 / self._plan.rate, asyncio.get_running_loop()
        while due <= now and due < self._end:
            self._waiting.append(due)
            due += gap
        self._serve_waiting()
        if due >= self._end:
            loop.call_later(self._end - now if self._end > now else 0, self._finish_if_idle)
        elif self._plan.spin:
            loop.call_soon(self._offer, due)
        else:
            loop.call_later(due - now, self._offer, due)

    def _serve_waiting(self) -> None:
        while self._waiting:
            free = min(self._connections, key=lambda one: one.busy)
            if free.busy >= free.room:
                break
            self._send(free, self._waiting.popleft())
        for connection in self._connections:
            connection.flush()

    def _answered(self, connection: Connection, due: float) -> None:
        now = time.monotonic()
        if self._plan.rate:
            # A request that was due within the seconds counts, however late its answer is.
            if self._counted_from <= due < self._end:
                self._due.append(due)
                self._took.append(now - due)
            if self._waiting:
                self._send(connection, self._waiting.popleft())
        else:
            if self._counted_from <= now < self._end:
                self._due.append(due)
                self._took.append(now - due)
            if now < self._end:
                self._send(connection, now)
        if now >= self._end:
            self._finish_if_idle()

    def _finish_if_idle(self) -> None:
        if not self._waiting and not any(connection.busy for connection in self._connections):
            self._over.set()

    def _failed(self, what: str) -> None:
        """One failure ends the cell: figures of a server that answers wrongly are worth nothing."""
        self._failures += 1
        self._first_failure = self._first_failure or what
        self._over.set()
