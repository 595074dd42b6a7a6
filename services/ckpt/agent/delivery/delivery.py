"""Carrying out what the logic asks for: messages to workers, each when it is its turn, and reports to Kafka."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Protocol

from headrace.contracts.events_pb2 import WeightsApplied
from headrace.rollouts.reports import HEARTBEAT
from headrace.runtime.logging import get_logger
from headrace.weights.worker.wire import ToAgent, ToWorker
from services.ckpt.agent import metrics
from services.ckpt.agent.delivery.outbox import Outbox
from services.ckpt.agent.delivery.turns import Turns
from services.ckpt.agent.state import Connection, Effect, Send

log = get_logger("headrace.ckpt")


class ReportLog(Protocol):
    """Where reports are written; see `services.ckpt.agent.kafka.Reports`."""

    def send(self, reports: Iterable[WeightsApplied]) -> None:
        """Queue reports."""
        ...

    def poll(self) -> None:
        """Serve delivery reports."""
        ...

    def close(self) -> None:
        """Wait until everything queued was written."""
        ...


class Delivery:
    """Everything runs on the event loop, and `run` must run meanwhile.

    Args:
        send: sends a message to a worker.
        turns: holds a `Stage` back until it is that worker's turn.
        outbox: holds a report back while another worker is about to report the same.
        more_to_come: whether that is so.
        bytes_given: returns the bytes of a model that this agent has given to others.
    """

    def __init__(
        self,
        send: Callable[[Connection, ToWorker], None],
        *,
        turns: Turns,
        outbox: Outbox,
        more_to_come: Callable[[WeightsApplied], bool],
        bytes_given: Callable[[str], int],
    ) -> None:
        self._send_message = send
        self._turns = turns
        self._outbox = outbox
        self._more_to_come = more_to_come
        self._bytes_given = bytes_given
        self._changed = asyncio.Event()
        self._reports: ReportLog | None = None

    def open(self, reports: ReportLog) -> None:
        """Write reports there from now on."""
        self._reports = reports

    def deliver(self, effects: Iterable[Effect]) -> None:
        """Carry out effects: messages first, since workers wait for them; then reports, and log lines last."""
        reports = []
        for effect in effects:
            if isinstance(effect, Send):
                self._send(self._turns.pass_on(effect, time.time()))
            else:
                reports.append(effect.applied)
        more = any(self._more_to_come(applied) for applied in reports)
        self._write(self._outbox.put(reports, time.time(), more=more))
        self._changed.set()

    def on_message(self, connection: Connection, message: ToAgent) -> None:
        """A worker said something: its turn may be over."""
        self._send(self._turns.on_message(connection, message, time.time()))

    def on_gone(self, connection: Connection) -> None:
        """A worker's connection ended, and its turn with it."""
        self._send(self._turns.on_gone(connection, time.time()))

    async def run(self) -> None:
        """Let the next worker stage when one takes too long, and write reports that have waited long enough."""
        while True:
            due = min(self._turns.next_end, self._outbox.due)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), due - time.time() if due < float("inf") else None)
            self._changed.clear()
            self._send(self._turns.on_tick(time.time()))
            self._write(self._outbox.on_tick(time.time()))

    def poll(self) -> None:
        """Serve Kafka's delivery reports; to be called every few seconds.

        Raises:
            DependencyError: the client has lost its brokers for good.
        """
        if self._reports is not None:
            self._reports.poll()

    def flush(self) -> None:
        """Write what is held back."""
        self._write(self._outbox.take())

    async def close(self) -> None:
        """Wait until every report was written."""
        if self._reports is not None:
            await asyncio.to_thread(self._reports.close)

    def _send(self, sends: Iterable[Send]) -> None:
        for send in sends:
            self._send_message(send.connection, send.message)

    def _write(self, reports: list[WeightsApplied]) -> None:
        if not reports:
            return
        for applied in reports:
            applied.bytes_to_peers = self._bytes_given(applied.model)
        if self._reports is not None:
            self._reports.send(reports)
        for applied in reports:
            metrics.observe_report(applied)
        for (state, model, version, error), same in groupby(reports, _as_logged):
            if state != HEARTBEAT:
                log.info(
                    "workers", state=WeightsApplied.State.Name(state), model=model, version=version,
                    workers=[applied.worker for applied in same], **({"error": error} if error else {}),
                )  # fmt: skip


def _as_logged(applied: WeightsApplied) -> tuple["WeightsApplied.State.ValueType", str, int, str]:
    return applied.state, applied.model, applied.version, applied.error
