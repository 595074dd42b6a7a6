"""The one thread that changes the state: what people ask for and what the topics bring, committed before answered.

A round: do what was asked, read the topics, add and close items, publish what is due, commit all of it in one
transaction, answer. The state in memory is ahead of the topic only within a round. If the commit fails, nothing that
the round did was answered, and the process ends; the next one reads the state from the topic.
"""

import queue
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec

from headrace.contracts.labelling import LabelPositions
from headrace.model.slices import parse_slice
from services.labelling.errors import LabellingError, UnavailableError
from services.labelling.queues.admission import Admission
from services.labelling.queues.candidates import Candidates, Offsets, Read
from services.labelling.work.desk import Desk
from services.labelling.work.shown import Shown
from services.labelling.work.store import Outbox

T = TypeVar("T")
Asked = tuple[Callable[[int], Any], "Future[Any]"]

_WAIT_S = 0.05
_SLOW_S = 1.0
_POSITIONS_S = 5.0
_TOLD_S = 0.25
_MOST_ASKED = 500


class StateEnd(Protocol):
    """Where the state is kept. See `services.labelling.kafka.state.StateLog`."""

    def commit(self, outbox: Outbox) -> None:
        """Make it durable, all or nothing."""
        ...

    def poll(self) -> None:
        """Hear of trouble."""
        ...


class InputEnd(Protocol):
    """What is read. See `services.labelling.kafka.inputs.Inputs`."""

    at: Offsets
    slices: dict[str, dict[str, Any]]
    unreadable: int

    def read(self, timeout_s: float) -> Read:
        """What has come."""
        ...


class Observer(Protocol):
    """Is told what happened, for metrics and for followers."""

    def round(self, loop: "Loop", labels: int, admitted: int) -> None:
        """A round was committed that published so many labels and added so many items."""
        ...

    def counts(self, queues: bytes) -> None:
        """The queues' counts have changed: JSON, as `GET /v1/labelling/queues` answers."""
        ...


@dataclass
class Parts:
    """What the loop works with."""

    desk: Desk
    shown: Shown
    admission: Admission
    candidates: Candidates
    state: StateEnd
    inputs: InputEnd


class Loop:
    """See the module. `ask` may be called from any thread, everything else from the loop's own.

    Args:
        described: what stands beside the queues in their counts.
    """

    def __init__(
        self, parts: Parts, observer: Observer, described: dict[str, Any], clock: Callable[[], float] = time.time
    ) -> None:
        self.parts, self._observer, self._described, self._clock = parts, observer, described, clock
        self._asked: queue.SimpleQueue[Asked] = queue.SimpleQueue()
        self._over = False
        self._slow_at = self._moved_at = self._told_at = 0.0
        self._told = b""
        self._slices: dict[str, dict[str, Any]] | None = None

    def ask(self, do: Callable[[int], T]) -> "Future[T]":
        """Have `do` called by the loop with the time in ms; the future has its result once it is durable.

        `do` returns values that nothing changes later.
        """
        future: Future[T] = Future()
        if self._over:
            future.set_exception(UnavailableError("this process is stopping"))
        else:
            self._asked.put((do, future))
        return future

    def run(self, is_over: Callable[[], bool]) -> None:
        """Work until `is_over`; then answer what was asked by then and return.

        Raises:
            FencedError: another instance has taken over.
            DependencyError: the broker failed.
        """
        try:
            while not is_over():
                self.round(_WAIT_S)
            self._over = True
            self.round(0.0)
        finally:
            self._over = True
            self._refuse_all()

    def round(self, wait_s: float) -> None:
        """One round; see the module."""
        asked = self._taken(wait_s)
        now = self._clock()
        now_ms = round(now * 1000)
        answers: list[tuple[Future[Any], Any]] = []
        try:
            for do, future in asked:
                self._do(do, future, now_ms, answers)
            admitted = self._read(now_ms)
            labels = self._commit(now, now_ms)
        except BaseException:
            for _, future in asked:
                if not future.done():
                    future.set_exception(UnavailableError("what was asked for could not be made durable: ask again"))
            raise
        for future, answer in answers:
            future.set_result(answer)
        self._observer.round(self, labels, admitted)
        self._tell(now, now_ms)

    def queues(self, now_ms: int) -> dict[str, Any]:
        """The queues and their counts, as they are shown."""
        return {**self._described, "queues": self.parts.shown.queues(now_ms)}

    def _taken(self, wait_s: float) -> list[Asked]:
        taken: list[Asked] = []
        try:
            taken.append(self._asked.get(timeout=wait_s) if wait_s else self._asked.get_nowait())
            while len(taken) < _MOST_ASKED:
                taken.append(self._asked.get_nowait())
        except queue.Empty:
            pass
        return [one for one in taken if one[1].set_running_or_notify_cancel()]

    @staticmethod
    def _do(
        do: Callable[[int], Any], future: "Future[Any]", now_ms: int, answers: list[tuple["Future[Any]", Any]]
    ) -> None:
        try:
            answers.append((future, do(now_ms)))
        except LabellingError as error:
            future.set_exception(error)

    def _read(self, now_ms: int) -> int:
        """Take what the topics brought, and let candidates that have waited join their queues; how many did."""
        parts = self.parts
        before = parts.inputs.at
        read = parts.inputs.read(0.0)
        if read:
            parts.candidates.add(read, before, now_ms)
            for key, at_ms in read.labels:
                parts.desk.labelled_elsewhere(key, at_ms)
        if parts.inputs.slices is not self._slices:
            self._slices = parts.inputs.slices
            named = [parse_slice(one) for one in self._slices.values()]
            for one in parts.admission.queues.values():
                one.name_slices(named)
        return parts.admission.admit(parts.candidates.ripe(now_ms), now_ms)

    def _commit(self, now: float, now_ms: int) -> int:
        """Publish what is due and write everything; how many labels were published."""
        parts, store = self.parts, self.parts.desk.store
        parts.desk.publish_due(now_ms)
        if now - self._slow_at >= _SLOW_S:
            self._slow_at = now
            parts.desk.end_windows(now_ms)
            parts.state.poll()
        positions = LabelPositions(parts.candidates.offsets(parts.inputs.at), parts.inputs.slices)
        if positions != store.positions and (store.outbox or now - self._moved_at >= _POSITIONS_S):
            store.move(positions)
            self._moved_at = now
        outbox = store.taken()
        if outbox:
            parts.state.commit(outbox)
        return len(outbox.labels)

    def _tell(self, now: float, now_ms: int) -> None:
        if now - self._told_at < _TOLD_S:
            return
        self._told_at = now
        told = msgspec.json.encode(self.queues(now_ms))
        if told != self._told:
            self._told = told
            self._observer.counts(told)

    def _refuse_all(self) -> None:
        while True:
            try:
                _, future = self._asked.get_nowait()
            except queue.Empty:
                return
            if not future.done():
                future.set_exception(UnavailableError("this process is stopping"))
