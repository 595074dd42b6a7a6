"""One version of a model of the repository, running: its requests wait, and are executed, apart from all others'."""

import asyncio
import contextlib
import time
from collections.abc import Callable

from services.inference.oip.messages import OipError
from services.inference.rpc import timing
from services.inference.rpc.backends.batch import ArrayExecutor
from services.inference.rpc.backends.config import ModelSettings
from services.inference.rpc.backends.repository import LoadedVersion
from services.inference.rpc.backends.tables import ArrayTables
from services.inference.rpc.batching.batcher import Batcher, BatchLimits
from services.inference.rpc.batching.jobs import Job, Outcome
from services.inference.rpc.parameters import Priorities
from services.inference.rpc.statistics import Statistics

_THREADS = {"remote": 8}
"""Executions at a time where the configuration says nothing: those of a remote model wait for another machine."""


class RunningVersion:
    """See the module. Its methods belong to the event loop's thread.

    Args:
        settings: the model's configuration.
        loaded: the version.
        everything: the model's statistics, beside the version's own.
        queue: rows that may wait, where the configuration does not say.
        overdue_s: seconds after which an execution is given up; 0 is never.
    """

    def __init__(
        self, settings: ModelSettings, loaded: LoadedVersion, everything: Statistics, queue: int, overdue_s: float
    ) -> None:
        self.loaded, self.settings = loaded, settings
        self.statistics, self._everything = Statistics(), everything
        self.max_batch = settings.message.max_batch_size
        self.tables = ArrayTables(settings.signature, self.max_batch)
        executor = ArrayExecutor(settings.signature, loaded.number, loaded.digest[:16], loaded.backend)
        self.batcher = Batcher(executor.run, limits_of(settings, queue, overdue_s))
        batching = settings.message.dynamic_batching
        self.priorities = Priorities(batching.priority_levels or 1, batching.default_priority_level or 1)
        self._policy = batching.default_queue_policy
        self._outstanding = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def reason(self) -> str:
        """Why it is not ready; "" while it is."""
        return self.loaded.backend.fault or self.batcher.stuck

    def timeout_us(self, asked: int) -> int:
        """For how long a request may wait that asks for so many µs, 0 for as long as it takes."""
        most = int(self._policy.default_timeout_microseconds)
        if not most:
            return asked
        return asked if self._policy.allow_timeout_override and 0 < asked < most else most

    def submit(self, job: Job, deliver: Callable[[Outcome], None]) -> None:
        """Have an admitted request executed.

        Raises:
            OipError: it is refused.
        """

        def counted(outcome: Outcome) -> None:
            self._ended()
            outcome = job.deposited(outcome)
            now, execution = time.perf_counter_ns(), job.execution
            if execution is None or isinstance(outcome, OipError):
                self.failed(now - job.arrived)
            else:
                queue = execution.started - job.arrived
                for statistics in (self.statistics, self._everything):
                    statistics.succeeded(now - job.arrived, queue, execution, job.table.rows)
                if job.timing:
                    outcome.parameters = timing.executed(now - job.arrived, queue, execution)
            deliver(outcome)

        job.deliver = counted
        self.batcher.submit(job)
        self._outstanding += 1
        self._idle.clear()

    def cancel(self, job: Job) -> None:
        """Nobody wants the answer of a request that was submitted any more."""
        self.batcher.cancel(job)
        self._ended()
        self.failed(time.perf_counter_ns() - job.arrived)

    def failed(self, total_ns: int) -> None:
        """Count a request that was answered with an error."""
        self.statistics.failed(total_ns)
        self._everything.failed(total_ns)

    def _ended(self) -> None:
        self._outstanding -= 1
        if not self._outstanding:
            self._idle.set()

    async def retire(self, grace_s: float) -> None:
        """Answer what was submitted, for so long; then let the backend go."""
        with contextlib.suppress(TimeoutError):  # `close` refuses what waits still
            await asyncio.wait_for(self._idle.wait(), grace_s)
        self.batcher.close()
        await asyncio.to_thread(self.loaded.backend.close)


def limits_of(settings: ModelSettings, queue: int, overdue_s: float) -> BatchLimits:
    """How requests are put together: by `dynamic_batching`; without it each is executed alone."""
    message = settings.message
    batching = message.dynamic_batching
    together = message.HasField("dynamic_batching")
    threads = sum(group.count or 1 for group in message.instance_group) or _THREADS.get(settings.backend, 1)
    return BatchLimits(
        max_events=message.max_batch_size if together else 1,
        max_delay_us=batching.max_queue_delay_microseconds,
        max_waiting=batching.default_queue_policy.max_queue_size or queue,
        threads=threads,
        on_loop_us=0,
        overdue_s=overdue_s,
    )
