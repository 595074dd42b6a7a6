"""Roles as processes: started in stages, restarted when they crash, stopped in reverse order; never orphaned.

- Each role has a thread that waits for its process and decides what its end means (`headrace.launch.supervised`).
- One thread asks all roles whether they are ready.
- Every change goes to `<run_dir>/supervisor.json`, whole, for `headrace status` and `headrace down`.
- If the supervisor is killed, the kernel kills the roles (`headrace.platform.process.spawn`).
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from headrace.launch.specs import RestartPolicy, RoleSpec, RoleStatus, Stage, State
from headrace.launch.supervised import Supervised
from headrace.platform.files import write_json
from headrace.platform.process import ProcessId
from headrace.runtime.errors import PlatformError

__all__ = ["RestartPolicy", "RoleSpec", "RoleStatus", "Stage", "State", "Supervisor"]

SUPERVISOR_FILE = "supervisor.json"
_PROBE_STARTING_S = 0.05
_PROBE_READY_S = 1.0


class Supervisor:
    """Runs roles until stopped. Thread-safe; a context manager that stops on leaving.

    Args:
        run_dir: the run's folder: logs, endpoint files and supervisor.json.
        env: what to add to this process's environment for every role (`Endpoints.as_env()`).
        policy: when to restart.
        on_change: called after every change of any role's status, from any thread; must be quick.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        env: Mapping[str, str] | None = None,
        policy: RestartPolicy | None = None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        self.run_dir = run_dir.resolve()
        self._env = {**os.environ, **(env or {})}
        self._policy = policy or RestartPolicy()
        self._on_change = on_change
        self._stages: list[list[Supervised]] = []
        self._roles: dict[str, Supervised] = {}
        self._changed = threading.Condition()
        self._file_lock = threading.Lock()
        self._stopped = threading.Event()
        self._me = ProcessId.of(os.getpid())
        self._prober = threading.Thread(target=self._probe, name="readiness", daemon=True)

    def start(self, stages: Sequence[Stage]) -> None:
        """Start the stages in order.

        Raises:
            PlatformError: a stage that is waited for did not become ready; what runs by then still runs.
        """
        for stage in stages:
            self._start_stage(stage.roles)
            if stage.wait_ready:
                self.wait_ready(*(spec.key for spec in stage.roles), timeout=stage.ready_timeout_s)

    def add(self, spec: RoleSpec) -> None:
        """Start one more role; it is stopped before those that were started before it."""
        self._start_stage([spec])

    def _start_stage(self, specs: Sequence[RoleSpec]) -> None:
        if self._stopped.is_set():
            raise PlatformError("the supervisor is stopped", hint="make another")
        if taken := [spec.key for spec in specs if spec.key in self._roles]:
            raise PlatformError(
                f"there is a role instance {taken[0]!r} already", hint="give each its own instance name"
            )
        started = [Supervised(spec, self.run_dir, self._env, self._policy, self._note_change) for spec in specs]
        self._stages.append(started)
        self._roles = {**self._roles, **{role.spec.key: role for role in started}}
        for role in started:
            role.start()
        if not self._prober.ident:
            self._prober.start()

    def statuses(self) -> list[RoleStatus]:
        """How every role is, in the order of starting."""
        return [role.status for role in self._roles.values()]

    def status(self, instance: str) -> RoleStatus:
        """How one role is.

        Raises:
            PlatformError: there is no such instance.
        """
        return self._role(instance).status

    def restart_count(self, instance: str) -> int:
        """How often a role was started again."""
        return self.status(instance).restarts

    def wait_ready(self, *instances: str, timeout: float = 60.0) -> None:
        """Return when these roles (all, if none is named) are ready, or have finished their work.

        Raises:
            PlatformError: one failed for good, or is not ready in time; with the tail of its log.
        """
        roles = [self._role(name) for name in instances] or list(self._roles.values())
        self.wait_for(lambda: all(_is_up(role.status) or role.status.state.over for role in roles), timeout)
        for role in roles:
            if role.status.state is State.FAILED:
                raise PlatformError(role.failure(), hint="the log has the whole story")
        waiting = [role for role in roles if not _is_up(role.status)]
        if waiting:
            names = ", ".join(f"{role.spec.key} ({role.status.detail or role.status.state})" for role in waiting)
            raise PlatformError(f"not ready after {timeout:.0f} s: {names}\n{waiting[0].failure()}")

    def wait_for(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Whether `condition` on the roles became true within `timeout` seconds; looked at after every change."""
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def raise_for_failures(self) -> None:
        """Check that no role has failed for good.

        Raises:
            PlatformError: one has; with the tail of its log.
        """
        for role in self._roles.values():
            if role.status.state is State.FAILED:
                raise PlatformError(role.failure(), hint="the log has the whole story")

    def send(self, instance: str, signal_number: int) -> None:
        """Send a signal to a role's current process: SIGKILL is a crash, and restarted."""
        self._role(instance).send(signal_number)

    def stop(self) -> None:
        """Stop all roles in reverse order of starting: SIGTERM, each role's deadline, SIGKILL. Harmless when repeated."""
        self._stopped.set()
        for stage in reversed(self._stages):
            for role in stage:
                role.ask_to_stop()
            begun = time.monotonic()
            for role in stage:
                role.join(max(0.0, role.spec.stop_timeout_s - (time.monotonic() - begun)))
        if self._prober.ident:
            self._prober.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _role(self, instance: str) -> Supervised:
        if instance not in self._roles:
            raise PlatformError(f"no role instance {instance!r}", hint=f"there are: {', '.join(self._roles) or 'none'}")
        return self._roles[instance]

    def _probe(self) -> None:
        next_ready = 0.0
        while not self._stopped.wait(_PROBE_STARTING_S):
            again = time.monotonic() >= next_ready
            next_ready = time.monotonic() + _PROBE_READY_S if again else next_ready
            for role in self._roles.values():
                if again or role.status.state is State.STARTING:
                    role.probe()

    def _note_change(self) -> None:
        with self._file_lock:
            me = self._me.as_dict() if self._me else {}
            roles = [role.status.as_dict() for role in self._roles.values()]
            write_json(self.run_dir / SUPERVISOR_FILE, {**me, "updated": time.time(), "roles": roles})
        with self._changed:
            self._changed.notify_all()
        if self._on_change is not None:
            self._on_change()


def _is_up(status: RoleStatus) -> bool:
    return status.state in (State.READY, State.FINISHED)
