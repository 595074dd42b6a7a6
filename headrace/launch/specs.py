"""A process as the supervisor is asked to run it, its status, and when it is started again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from headrace.runtime.errors import ExitCode


class State(StrEnum):
    """Where in its life a process is."""

    WAITING = "waiting"  # not started yet, or between a crash and the next start
    STARTING = "starting"  # the process runs, and is not ready
    READY = "ready"
    STOPPING = "stopping"  # asked to end
    STOPPED = "stopped"  # ended because it was asked to
    FINISHED = "finished"  # ended by itself, its work done (exit code 0)
    FAILED = "failed"  # ended, and will not be started again

    @property
    def over(self) -> bool:
        """Whether there is no process and none will be started."""
        return self in (State.STOPPED, State.FINISHED, State.FAILED)


@dataclass(frozen=True)
class RoleSpec:
    """One process to run: `python -m <module> <args>`.

    `instance` is its unique name: of its log, its endpoint file and its HEADRACE_INSTANCE. `env` is added to the
    supervisor's. `stop_timeout_s` is how long it may take after SIGTERM: more than its own shutdown deadline, which
    tells more. `modules` are what a fork server imports before it forks the process.
    """

    name: str
    module: str
    role: str
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    instance: str = ""
    stop_timeout_s: float = 25.0
    modules: Sequence[str] = ()

    @property
    def key(self) -> str:
        """The instance's name; the role's where none was given."""
        return self.instance or self.name


@dataclass(frozen=True)
class StartWave:
    """Roles that start together; the next wave starts at once, or when all of these are ready."""

    roles: Sequence[RoleSpec]
    wait_ready: bool = False
    ready_timeout_s: float = 60.0


@dataclass(frozen=True)
class RoleStatus:
    """How a role, or a server of the platform, is.

    `since` is when it came into `state`, in seconds of the Unix epoch; `exit_code` is the last process's, negative for
    a signal; `endpoints` are the addresses that it published, empty until it has.
    """

    instance: str
    role: str
    pid: int | None
    state: State
    restarts: int
    exit_code: int | None
    endpoints: Mapping[str, str]
    since: float
    detail: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As plain values for a file."""
        return {
            "instance": self.instance,
            "role": self.role,
            "pid": self.pid,
            "state": str(self.state),
            "restarts": self.restarts,
            "exit_code": self.exit_code,
            "endpoints": dict(self.endpoints),
            "since": self.since,
            "detail": self.detail,
        }


@dataclass(frozen=True)
class RestartPolicy:
    """When a process that ended is started again.

    The first restart is immediate, then `base_s` seconds, each wait `factor` times the one before, `most_s` at most. A
    process that was ready and ran for `good_life_s` clears the count. After `give_up` processes in a row that never
    were ready there is no further restart, nor after an exit code in `final`.
    """

    base_s: float = 0.5
    factor: float = 2.0
    most_s: float = 15.0
    good_life_s: float = 2.0
    give_up: int = 6
    final: frozenset[int] = frozenset({ExitCode.OK, ExitCode.CONFIG})  # restarting changes nothing

    def delay_s(self, failures: int) -> float:
        """Seconds to wait after the `failures`-th failure in a row."""
        return 0.0 if failures <= 1 else min(self.most_s, self.base_s * self.factor ** (failures - 2))
