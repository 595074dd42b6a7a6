"""What an effect is given, and what it asks of the world.

An effect is tried again from its beginning if its process died: it does everything under the step's key, and looks into
the step's `phase` for what it must not do twice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from headrace.contracts.events_pb2 import Alert, Operation
from headrace.contracts.rule_records import RuleRun, RuleStep, StepState


class StepFailed(Exception):  # noqa: N818 - it is the step's outcome
    """A step cannot be done; the text says why."""


class Answer(NamedTuple):
    """What became of a request to a coordinator: `state` is active, canary, given up or refused."""

    state: str
    version: int
    reason: str
    at_us: int


class Fleet(Protocol):
    """What the coordinators have decided, as of what was read of it."""

    def active(self, model: str) -> int:
        """The version that serves; 0 for none."""
        ...

    def refused(self, model: str, version: int) -> bool:
        """Whether a version is not to be served any more."""
        ...

    def answer(self, operation: str) -> Answer | None:
        """The newest answer to a request; None before the first."""
        ...

    async def changed(self) -> None:
        """Return when something was decided, or after a second."""
        ...


class Jobs(Protocol):
    """The role `train`. While it does not answer, each call waits."""

    async def submit(self, kind: str, request: Mapping[str, Any], key: str) -> dict[str, Any]:
        """A job of a kind: jobs, studies, evaluations or hand-overs; the same key is the same job.

        Raises:
            StepFailed: it refuses.
        """
        ...

    async def get(self, kind: str, job: str) -> dict[str, Any]:
        """A job as it is now.

        Raises:
            StepFailed: it knows no such job.
        """
        ...

    async def cancel(self, kind: str, job: str) -> None:
        """Cancel a job; one that is over, or that cannot be reached, is left alone."""
        ...


class Web(Protocol):
    """Posts to the addresses that pipelines name."""

    async def post(self, url: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> int:
        """POST JSON until somebody takes it; the status.

        Raises:
            StepFailed: it is refused: a status of 3xx, or of 4xx but 408, 425 and 429.
        """
        ...

    def callback(self, key: str) -> tuple[str, str]:
        """Where somebody calls back for the step of a key, and with which token."""
        ...


class Programs(Protocol):
    """Runs programs that die with this process."""

    async def run(self, command: tuple[str, ...], env: Mapping[str, str], log: str) -> int:
        """Run to the end; the exit code. Cancelled, it stops the program first. Output goes to the log's file.

        Raises:
            StepFailed: there is no such program.
        """
        ...

    def tail(self, log: str) -> str:
        """The last lines of a log."""
        ...


class Record(Protocol):
    """Writes the run, with changes to the step's phase, and records for others, in one transaction."""

    async def __call__(
        self, changes: Mapping[str, Any], operation: Operation | None = None, alert: Alert | None = None
    ) -> None:
        """Durable when this returns, and in the context's `phase`."""
        ...


@dataclass(frozen=True)
class World:
    """All that effects reach."""

    jobs: Jobs
    fleet: Fleet
    web: Web
    programs: Programs


@dataclass
class StepContext:
    """A step that is being done.

    Attributes:
        look: gives the run as it was recorded last.
        number: the step's.
        record: makes what the effect has done durable.
        progress: for followers, not durable.
        now_us: the clock.
    """

    look: Callable[[], RuleRun]
    number: int
    record: Record
    now_us: Callable[[], int]
    progress: dict[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> RuleRun:
        """The run as it was recorded last."""
        return self.look()

    @property
    def step(self) -> RuleStep:
        """The step of it."""
        return self.run.steps[self.number - 1]

    @property
    def phase(self) -> dict[str, Any]:
        """How far the effect is."""
        return self.step.phase

    def result_of(self, kind: str) -> dict[str, Any] | None:
        """What the last step of a kind before this one came to; None where none is done."""
        before = self.run.steps[: self.step.number - 1]
        done = (one for one in reversed(before) if one.kind == kind and one.state is StepState.DONE)
        return next((one.result for one in done), None)


class Effect(Protocol):
    """Does one kind of step."""

    async def __call__(self, ctx: StepContext, world: World) -> dict[str, Any]:
        """Do it, or what is left of it; what it came to.

        Raises:
            StepFailed: it cannot be done.
        """
        ...
