"""Dynamic batching: requests that wait are executed together. At low load nobody waits.

All of it happens on the event loop's thread but the executions, which run there too while they are short (`Pace`).

1. `submit` puts a request into the queue, or refuses it. A flush is planned for the end of the loop's turn, so that
   all requests which that turn received are one batch.
2. The flush takes a batch, of all priorities and callers in turn, unless all threads are busy. Meanwhile arriving
   requests wait, and are the next batch: the busier the server, the larger its batches.
3. With `max_delay_us`, a batch that is not full waits so long for more.
4. An execution in a thread that takes longer than `overdue_s` is given up: its requests get an error. While all threads
   are in such executions, requests are refused.
5. Each answer is delivered once, or the request was cancelled.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from headrace.runtime.logging import get_logger
from services.inference.oip.messages import ModelFailed, Overloaded, Unavailable
from services.inference.rpc.batching.jobs import Job, Outcome
from services.inference.rpc.batching.pace import Pace, timed
from services.inference.rpc.batching.threads import PredictThreads
from services.inference.rpc.batching.waiting import Waiting

log = get_logger("headrace.rpc")

_CLOSE_S = 5.0

Run = Callable[[Sequence[Job]], list[Outcome]]


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How requests are put together.

    Attributes:
        max_events: events of one execution; a request with more is executed alone.
        max_delay_us: microseconds for which a batch waits to become full.
        max_waiting: events that may wait; a request beyond is refused.
        threads: executions at a time.
        on_loop_us: microseconds that an execution may keep the event loop; longer ones run in threads.
        overdue_s: seconds after which an execution in a thread is given up; 0 is never.
    """

    max_events: int = 256
    max_delay_us: int = 0
    max_waiting: int = 1 << 18
    threads: int = 1
    on_loop_us: int = 1000
    overdue_s: float = 0.0


class Batcher:
    """See the module. Its methods belong to the event loop's thread.

    Args:
        run: executes requests and returns an outcome for each; called in threads too.
        limits: how requests are put together.
    """

    def __init__(self, run: Run, limits: BatchLimits = BatchLimits()) -> None:
        self._run, self._limits = run, limits
        self._waiting = Waiting()
        self._pace = Pace(limits.on_loop_us * 1e-6)
        self._threads = PredictThreads(limits.threads)
        self._running = self._overdue = 0
        self._planned = self._closed = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Events that wait."""
        return self._waiting.events

    @property
    def stuck(self) -> str:
        """Why nothing can be executed: every thread is in an execution that was given up; "" otherwise."""
        if not self._overdue or self._overdue < self._limits.threads:
            return ""
        return f"the model has been computing for more than {self._limits.overdue_s:g} s, in all of its threads"

    def submit(self, job: Job) -> None:
        """Have a request executed; its `deliver` is called later.

        Raises:
            Overloaded: too many events wait.
            Unavailable: the server stops, or the model is stuck.
        """
        if self._closed:
            raise Unavailable("the server stops")
        if self._overdue and (stuck := self.stuck):
            raise Unavailable(stuck)
        waiting = self._waiting.events
        if waiting and waiting + job.table.rows > self._limits.max_waiting:
            raise Overloaded(f"Exceeds maximum queue size: {waiting} events wait, {self._limits.max_waiting} may")
        self._waiting.put(job)
        if job.timeout_us:
            job.timer = asyncio.get_running_loop().call_later(job.timeout_us * 1e-6, self._expire, job)
        self._plan()

    def cancel(self, job: Job) -> None:
        """Nobody wants the answer any more: a request that waits is dropped."""
        job.cancelled = True
        job.deliver = _delivered
        self._waiting.withdraw(job)
        _stop_timer(job)

    def close(self) -> None:
        """Take no more; those that wait are refused, those in execution are delivered."""
        self._closed = True
        self._refuse_waiting("the server stops")
        if not self._threads.close(_CLOSE_S):
            log.error("an execution has not ended, and is left behind", waited_s=_CLOSE_S)

    def _refuse_waiting(self, why: str) -> None:
        while jobs := self._waiting.take(self._limits.max_events):
            self._deliver(jobs, [Unavailable(why)] * len(jobs))

    def _expire(self, job: Job) -> None:
        if self._waiting.withdraw(job):
            self._deliver([job], [Unavailable("Request timeout expired")])

    # Batches.

    def _plan(self) -> None:
        if not self._planned and self._running < self._limits.threads:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._planned = False
        while self._waiting.events and self._running < self._limits.threads:
            if self._limits.max_delay_us and self._delayed():
                return
            jobs = self._waiting.take(self._limits.max_events)
            events = sum(job.table.rows for job in jobs)
            if self._pace.on_loop(events):
                self._execute_here(jobs, events)
                if self._waiting.events:
                    self._plan()  # after what has arrived meanwhile
                return
            self._running += 1
            running, loop = _Running(jobs, events), asyncio.get_running_loop()
            if self._limits.overdue_s:
                running.timer = loop.call_later(self._limits.overdue_s, self._give_up, running)
            done = self._threads.submit(partial(self._timed, jobs))
            done.add_done_callback(_Back(self, running, loop))

    def _delayed(self) -> bool:
        """Whether the batch waits for more requests; then a timer ends the wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting.events >= self._limits.max_events:
            return False
        left = self._limits.max_delay_us * 1e-6 - (time.perf_counter_ns() - self._waiting.oldest) * 1e-9
        if left <= 0:
            return False
        self._timer = asyncio.get_running_loop().call_later(left, self._flush)
        return True

    def _execute_here(self, jobs: list[Job], events: int) -> None:
        outcomes, seconds = timed(lambda: self._safely(jobs))
        self._pace.ran_on_loop(events, seconds)
        self._deliver(jobs, outcomes)

    def _timed(self, jobs: list[Job]) -> tuple[list[Outcome], float]:
        started = time.thread_time()
        return self._safely(jobs), time.thread_time() - started

    def _safely(self, jobs: list[Job]) -> list[Outcome]:
        try:
            return self._run(jobs)
        except Exception:
            log.exception("an execution failed")
            return [ModelFailed("internal error")] * len(jobs)

    def _give_up(self, running: "_Running") -> None:
        running.overdue = True
        self._overdue += 1
        seconds = self._limits.overdue_s
        log.error("an execution takes too long, and is given up", limit_s=seconds, events=running.events)
        why = f"the model has not answered within {seconds:g} s"
        self._deliver(running.jobs, [Unavailable(why)] * len(running.jobs))
        if stuck := self.stuck:
            self._refuse_waiting(stuck)

    def executed(self, running: "_Running", done: "Future[tuple[list[Outcome], float]]") -> None:
        """A thread has finished."""
        self._running -= 1
        if running.overdue:
            self._overdue -= 1
        elif running.timer is not None:
            running.timer.cancel()
        jobs, events = running.jobs, running.events
        error = done.exception()
        if error is None:
            outcomes, seconds = done.result()
            self._pace.ran_in_thread(events, seconds)
        else:
            outcomes = [ModelFailed(f"the execution ended by {type(error).__name__}")] * len(jobs)
        self._deliver(jobs, outcomes)
        if self._waiting.events:
            self._plan()

    def _deliver(self, jobs: list[Job], outcomes: list[Outcome]) -> None:
        for job, outcome in zip(jobs, outcomes, strict=True):
            _stop_timer(job)
            deliver, job.deliver = job.deliver, _delivered  # which may refer to the job: no cycle is left
            if job.cancelled:
                continue
            try:
                deliver(outcome)
            except Exception:
                log.exception("an answer could not be delivered")


@dataclass(slots=True)
class _Running:
    """A batch in a thread."""

    jobs: list[Job]
    events: int
    overdue: bool = False
    timer: asyncio.TimerHandle | None = None


@dataclass(frozen=True, slots=True)
class _Back:
    """Brings what a thread made back to the event loop."""

    batcher: Batcher
    running: _Running
    loop: asyncio.AbstractEventLoop

    def __call__(self, done: "Future[tuple[list[Outcome], float]]") -> None:
        self.loop.call_soon_threadsafe(self.batcher.executed, self.running, done)


def _delivered(_: Outcome) -> None:
    """Once is enough."""


def _stop_timer(job: Job) -> None:
    if job.timer is not None:
        job.timer.cancel()
        job.timer = None
