"""Jobs: taking them, running a few at once, following, cancelling, and going on with them after a restart.

It runs in one event loop. A job's record is written before anybody is told of its state.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from headrace.jobs.errors import BusyError, ConflictError, KeyReusedError, UnknownError
from headrace.jobs.process import JobProcess
from headrace.jobs.records import Folder, Record, State
from headrace.runtime.logging import get_logger

log = get_logger("headrace.jobs")

R = TypeVar("R", bound=Record)


class Start(Protocol):
    """Makes the process of a job's file."""

    def __call__(self, job_file: Path) -> JobProcess:
        """The process, not started."""
        ...


class Observer(Protocol):
    """Counts what happens to jobs."""

    def submitted(self) -> None:
        """A job was taken."""
        ...

    def counted(self, waiting: int, running: int) -> None:
        """So many wait and run now."""
        ...

    def ended(self, record: Record, seconds: float) -> None:
        """A job is over, after running for so long."""
        ...


class Jobs(Generic[R]):
    """All jobs.

    Args:
        folder: where they are kept.
        start: makes their processes.
        observer: counts them.
        max_running: that run at once.
        max_waiting: that wait at most.
        keep: finished ones that are kept.
    """

    def __init__(
        self, folder: Folder[R], start: Start, observer: Observer, *, max_running: int, max_waiting: int, keep: int
    ) -> None:
        self.folder, self._observer = folder, observer
        self._start, self._max_running, self._max_waiting, self._keep = start, max_running, max_waiting, keep
        self._records: dict[str, R] = {}
        self._keys: dict[str, str] = {}
        self._waiting: deque[str] = deque()
        self._running: dict[str, tuple[JobProcess, asyncio.Task[None]]] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._closing = False

    def open(self) -> None:
        """Take up what an earlier process of this service left: what ran then waits again, before what waited."""
        left = []
        for record in self.folder.load():
            self._add(record)
            if not record.state.over:
                left.append(record)
        for record in sorted(left, key=lambda one: one.state is not State.RUNNING):
            if record.cancelling:
                self._end(record, State.CANCELLED)
            else:
                record.state = State.WAITING
                self._waiting.append(record.id)
        if self._waiting:
            log.info("jobs go on", jobs=len(self._waiting))
        self._pump()

    async def close(self) -> None:
        """Stop what runs; it goes on when the service is started again."""
        self._closing = True
        running = list(self._running.values())
        for process, _ in running:
            process.stop()
        await asyncio.gather(*(task for _, task in running), return_exceptions=True)
        for event in self._changed.values():
            event.set()

    @property
    def closing(self) -> bool:
        """Whether the service stops."""
        return self._closing

    # Asking.

    def get(self, job: str) -> R:
        """A job's record.

        Raises:
            UnknownError: there is none.
        """
        if (record := self._records.get(job)) is None:
            raise UnknownError("there is no such job")
        return record

    def list(self, state: State | None, limit: int) -> "list[R]":
        """The newest jobs, of one state or of all."""
        newest = sorted(self._records.values(), key=lambda record: record.submitted_us, reverse=True)
        return [record for record in newest if state is None or record.state is state][:limit]

    async def follow(self, job: str) -> AsyncIterator[dict[str, Any]]:
        """The job as it is, then again after each change, until nothing more will happen or the service stops.

        Raises:
            UnknownError: there is no such job.
        """
        record, said = self.get(job), None
        while True:
            event = self._changed.setdefault(job, asyncio.Event())
            if (shown := record.shown()) != said:
                said = shown
                yield shown
            if record.state.over or self._closing or job not in self._records:
                return
            await event.wait()

    # Changing.

    def known(self, key: str, request: str) -> R | None:
        """The job that was submitted with this Idempotency-Key; None for a new one.

        Raises:
            KeyReusedError: it was for another request.
        """
        if not key or (job := self._keys.get(key)) is None:
            return None
        record = self._records[job]
        if record.request != request:
            raise KeyReusedError("this Idempotency-Key was used for another request")
        return record

    def has(self, key: str) -> bool:
        """Whether a job was submitted with this Idempotency-Key."""
        return key in self._keys

    def check_room(self) -> None:
        """Raise `BusyError` if as many jobs wait as may."""
        if len(self._waiting) >= self._max_waiting + max(0, self._max_running - len(self._running)):
            raise BusyError(f"{len(self._waiting)} jobs wait already: try again later")

    def submit(self, record: R) -> R:
        """Take a job, whose folder is there; durable when this returns.

        Raises:
            BusyError: too many wait.
            KeyReusedError: its key was used for another request.
        """
        if (same := self.known(record.key, record.request)) is not None:
            self.folder.remove(record.id)
            return same
        self.check_room()
        self.folder.save_job(record)
        self.folder.save(record)
        self._add(record)
        self._waiting.append(record.id)
        self._observer.submitted()
        self._sweep()
        self._pump()
        return record

    def cancel(self, job: str) -> R:
        """Cancel a job that is not over; what it has done is thrown away.

        Raises:
            UnknownError: there is no such job.
            ConflictError: it is done or has failed.
        """
        record = self.get(job)
        if record.state in (State.DONE, State.FAILED):
            raise ConflictError(f"the job is {record.state}")
        if record.state is State.CANCELLED:
            return record
        record.cancelling = True
        if job in self._running:
            self.folder.save(record)
            self._running[job][0].stop()
            self._notify(record)
        else:
            self._waiting.remove(job)
            self._end(record, State.CANCELLED)
        return record

    def delete(self, job: str) -> None:
        """Remove a job that is over, with its files.

        Raises:
            UnknownError: there is no such job.
            ConflictError: it is not over.
        """
        record = self.get(job)
        if not record.state.over:
            raise ConflictError(f"the job is {record.state}: cancel it first")
        self._forget(record)

    # Running.

    def _pump(self) -> None:
        while self._waiting and len(self._running) < self._max_running and not self._closing:
            record = self._records[self._waiting.popleft()]
            record.state, record.started_us = State.RUNNING, record.started_us or _now_us()
            self.folder.save(record)
            process = self._start(self.folder.save_job(record))
            self._running[record.id] = (process, asyncio.create_task(self._run(record, process)))
            self._notify(record)
        self._observer.counted(len(self._waiting), len(self._running))

    async def _run(self, record: R, process: JobProcess) -> None:
        summary: dict[str, Any] = {}

        def heard(line: Mapping[str, Any]) -> None:
            summary.update(line.get("summary", {}))
            record.error = str(line.get("error", "")).replace(f"{self.folder.of(record.id)}/", "")
            record.heard(line)
            self._notify(record)

        try:
            code = await process.run(heard)
        except Exception as error:
            log.exception("a job's process failed", job=record.id)
            code, record.error = -1, f"{type(error).__name__}"
        del self._running[record.id]
        self._ended(record, code, summary)
        self._pump()

    def _ended(self, record: R, code: int, summary: Mapping[str, Any]) -> None:
        if code == 0 and summary:
            record.succeeded(summary)
            self._end(record, State.DONE)
        elif record.cancelling:
            self._end(record, State.CANCELLED)
        elif self._closing:
            record.state = State.WAITING  # the next process of the service goes on with it
            self.folder.save(record)
        else:
            record.error = record.error or f"the job's process ended with exit code {code}"
            self._end(record, State.FAILED)

    def _end(self, record: R, state: State) -> None:
        record.state, record.finished_us = state, _now_us()
        if state is not State.DONE:
            record.abandoned()
        self.folder.save(record)
        self._observer.ended(record, (record.finished_us - (record.started_us or record.finished_us)) / 1e6)
        log.info("job ended", job=record.id, state=str(state), error=record.error, **record.progress())
        self._notify(record)

    # Keeping.

    def _add(self, record: R) -> None:
        self._records[record.id] = record
        if record.key:
            self._keys[record.key] = record.id

    def _sweep(self) -> None:
        over = sorted((r for r in self._records.values() if r.state.over), key=lambda r: r.finished_us)
        for record in over[: max(0, len(over) - self._keep)]:
            self._forget(record)

    def _forget(self, record: R) -> None:
        del self._records[record.id]
        self._keys.pop(record.key, None)
        self.folder.remove(record.id)
        self._notify(record)

    def _notify(self, record: R) -> None:
        if (event := self._changed.pop(record.id, None)) is not None:
            event.set()


def _now_us() -> int:
    return time.time_ns() // 1000
