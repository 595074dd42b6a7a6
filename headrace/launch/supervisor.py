"""Roles and servers as processes: started in waves, restarted when they die, stopped in reverse order; never orphaned.

- Each has a thread that waits for its process and decides what its end means (`headrace.launch.supervised`).
- One thread asks all of them whether they are ready.
- While a server of the platform is not ready, no role is restarted, since every role needs all servers.
- Every change goes to `<run_dir>/supervisor.json`, whole, for `headrace status` and `headrace down`.
- If the supervisor is killed, the kernel kills its processes (`headrace.platform.process.die_with_parent`).
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from headrace.launch.fork.client import ForkServer
from headrace.launch.programs import RoleProgram, ServerProgram
from headrace.launch.specs import RestartPolicy, RoleSpec, RoleStatus, StartWave, State
from headrace.launch.supervised import Supervised
from headrace.platform import LocalPlatform
from headrace.platform.files import write_json
from headrace.platform.process import ProcessId
from headrace.runtime.errors import PlatformError

SUPERVISOR_FILE = "supervisor.json"
_PROBE_STARTING_S = 0.05
_PROBE_READY_S = 1.0


class Supervisor:
    """Keeps roles and servers running until stopped. Thread-safe; a context manager that stops on leaving.

    Args:
        run_dir: the run's folder: logs, endpoint files and supervisor.json.
        env: what to add to this process's environment for every role (`Endpoints.as_env()`).
        policy: when to restart; a server is restarted whatever its exit code.
        forks: starts roles by forking; None starts each as a new interpreter. Who passes it stops it.
        on_change: called after every change of any status, from any thread; must be quick.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        env: Mapping[str, str] | None = None,
        policy: RestartPolicy | None = None,
        forks: ForkServer | None = None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        self.run_dir = run_dir.resolve()
        self._env = {**os.environ, **(env or {})}
        self._policy = policy or RestartPolicy()
        self._forks = forks
        self._on_change = on_change
        self._waves: list[list[Supervised]] = []
        self._all: dict[str, Supervised] = {}
        self._servers: list[Supervised] = []
        self._changed = threading.Condition()
        self._file_lock = threading.Lock()
        self._stopped = threading.Event()
        self._me = ProcessId.of(os.getpid())
        self._prober = threading.Thread(target=self._probe, name="readiness", daemon=True)

    def start(self, waves: Sequence[StartWave]) -> None:
        """Start the waves in order.

        Raises:
            PlatformError: a wave that is waited for did not become ready; what runs by then still runs.
        """
        for wave in waves:
            self._start_roles(wave.roles)
            if wave.wait_ready:
                self.wait_ready(*(spec.key for spec in wave.roles), timeout=wave.ready_timeout_s)

    def add(self, spec: RoleSpec) -> None:
        """Start one more role; it is stopped before those that were started before it."""
        self._start_roles([spec])

    def watch(self, platform: LocalPlatform) -> None:
        """Restart the platform's own servers when they die, each on its data and its port.

        They are stopped after what was started later, Redis before Kafka; the platform itself is for its owner to stop.
        """
        policy = replace(self._policy, final=frozenset())
        for server in platform.servers:
            supervised = Supervised(ServerProgram(platform, server), policy, self._note_change)
            self._servers.append(supervised)
            self._start_together([supervised])

    def _start_roles(self, specs: Sequence[RoleSpec]) -> None:
        programs = [RoleProgram(spec, self.run_dir, self._env, self._forks) for spec in specs]
        self._start_together([Supervised(p, self._policy, self._note_change, self._missing) for p in programs])

    def _start_together(self, started: list[Supervised]) -> None:
        if self._stopped.is_set():
            raise PlatformError("the supervisor is stopped", hint="make another")
        if taken := [one.program.key for one in started if one.program.key in self._all]:
            raise PlatformError(
                f"there is an instance {taken[0]!r} already", hint="give each role an instance name of its own"
            )
        self._waves.append(started)
        self._all = {**self._all, **{one.program.key: one for one in started}}
        for one in started:
            one.start()
        if not self._prober.ident:
            self._prober.start()

    def _missing(self) -> str:
        """The servers that are not ready, by name; "" where all are."""
        return ", ".join(one.program.key for one in self._servers if one.status.state is not State.READY)

    def statuses(self) -> list[RoleStatus]:
        """How every server and role is, in the order of starting."""
        return [one.status for one in self._all.values()]

    def status(self, instance: str) -> RoleStatus:
        """How one of them is.

        Raises:
            PlatformError: there is no such instance.
        """
        return self._role(instance).status

    def restart_count(self, instance: str) -> int:
        """How often it was started again."""
        return self.status(instance).restarts

    def wait_ready(self, *instances: str, timeout: float = 60.0) -> None:
        """Return when these (all, if none is named) are ready, or have finished their work.

        Raises:
            PlatformError: one failed for good, or is not ready in time; with the tail of its log.
        """
        roles = [self._role(name) for name in instances] or list(self._all.values())
        self.wait_for(lambda: all(_is_up(role.status) or role.status.state.over for role in roles), timeout)
        for role in roles:
            if role.status.state is State.FAILED:
                raise PlatformError(role.failure(), hint="the log has the whole story")
        waiting = [role for role in roles if not _is_up(role.status)]
        if waiting:
            names = ", ".join(f"{role.program.key} ({role.status.detail or role.status.state})" for role in waiting)
            raise PlatformError(f"not ready after {timeout:.0f} s: {names}\n{waiting[0].failure()}")

    def wait_for(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Whether `condition` on the statuses became true within `timeout` seconds; looked at after every change."""
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def raise_for_failures(self) -> None:
        """Check that nothing has failed for good.

        Raises:
            PlatformError: one has; with the tail of its log.
        """
        for role in self._all.values():
            if role.status.state is State.FAILED:
                raise PlatformError(role.failure(), hint="the log has the whole story")

    def send(self, instance: str, signal_number: int) -> None:
        """Send a signal to the current process of an instance: SIGKILL is a crash, and restarted."""
        self._role(instance).send(signal_number)

    def stop(self) -> None:
        """Stop all in reverse order of starting: SIGTERM, each one's deadline, SIGKILL. Harmless when repeated."""
        self._stopped.set()
        for wave in reversed(self._waves):
            for one in wave:
                one.ask_to_stop()
            begun = time.monotonic()
            for one in wave:
                one.join(max(0.0, one.program.stop_timeout_s - (time.monotonic() - begun)))
        if self._prober.ident:
            self._prober.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _role(self, instance: str) -> Supervised:
        if instance not in self._all:
            raise PlatformError(f"no instance {instance!r}", hint=f"there are: {', '.join(self._all) or 'none'}")
        return self._all[instance]

    def _probe(self) -> None:
        next_ready = 0.0
        while not self._stopped.wait(_PROBE_STARTING_S):
            again = time.monotonic() >= next_ready
            next_ready = time.monotonic() + _PROBE_READY_S if again else next_ready
            for one in self._all.values():
                if again or one.status.state is State.STARTING:
                    one.probe()

    def _note_change(self) -> None:
        with self._file_lock:
            me = self._me.as_dict() if self._me else {}
            roles = [role.status.as_dict() for role in self._all.values()]
            write_json(self.run_dir / SUPERVISOR_FILE, {**me, "updated": time.time(), "roles": roles})
        with self._changed:
            self._changed.notify_all()
        if self._on_change is not None:
            self._on_change()


def _is_up(status: RoleStatus) -> bool:
    return status.state in (State.READY, State.FINISHED)
