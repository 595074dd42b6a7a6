"""What a supervisor can keep running: a role of Headrace, or a server of the platform.

`Supervised` knows when a process is started, asked whether it is ready, and started again; a `Program` knows how.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from headrace.launch.fork.client import ForkError, ForkServer
from headrace.launch.readiness import answers_ready, endpoint_file, endpoints_of
from headrace.launch.specs import RoleSpec
from headrace.platform import LocalPlatform, process
from headrace.platform.files import note
from headrace.platform.server import Server


class Child(Protocol):
    """A process that we started; `subprocess.Popen` is one."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        ...

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        ...

    def send_signal(self, number: int, /) -> None:
        """Send a signal, unless it has ended."""
        ...


@dataclass(frozen=True)
class Look:
    """What a look at a running process showed: whether it is ready, why not, and its addresses."""

    ready: bool
    detail: str = ""
    endpoints: Mapping[str, str] = field(default_factory=dict)


class Program(Protocol):
    """How one supervised process is started and looked at."""

    @property
    def key(self) -> str:
        """Its unique name."""
        ...

    @property
    def role(self) -> str:
        """What it is, for the board."""
        ...

    @property
    def log(self) -> Path:
        """Where its output goes."""
        ...

    @property
    def stop_timeout_s(self) -> float:
        """How long it may take to end after SIGTERM."""
        ...

    def start(self) -> Child:
        """Start a process.

        Raises:
            OSError: the system has no process for it.
            HeadraceError: something that it needs is missing.
        """
        ...

    def look(self, pid: int) -> Look | None:
        """How process `pid` of this program is; None where nothing is known of it yet."""
        ...

    def ended(self, pid: int) -> None:
        """Remove what process `pid`, which has ended, left behind."""
        ...


class RoleProgram:
    """`python -m <module> <args>`: forked from `forks` where there is one that suits, else a new interpreter."""

    def __init__(self, spec: RoleSpec, run_dir: Path, env: Mapping[str, str], forks: ForkServer | None = None) -> None:
        self._spec, self._run_dir, self._forks = spec, run_dir, forks
        self._env = {**env, "HEADRACE_RUN_DIR": str(run_dir), "HEADRACE_INSTANCE": spec.key, **spec.env}
        self.key, self.role, self.stop_timeout_s = spec.key, spec.role, spec.stop_timeout_s
        self.log = run_dir / "logs" / f"{spec.key}.log"

    def start(self) -> Child:
        """Start a process; the log says so where it could not be forked."""
        if self._forks is not None and self._forks.suits(self._env):
            try:
                return self._forks.spawn(self._spec.module, self._spec.args, self.log, self._env, self._spec.modules)
            except ForkError as error:
                note(self.log, f"not forked but started as a new interpreter: {error}")
        return process.spawn([sys.executable, "-m", self._spec.module, *self._spec.args], self.log, self._env)

    def look(self, pid: int) -> Look | None:
        """Whether /readyz of that process says so."""
        found = endpoints_of(self._run_dir, self.key, pid)
        if found is None or "ops" not in found.endpoints:
            return None
        ready, detail = answers_ready(found.endpoints["ops"])
        return Look(ready, "" if ready else detail, found.endpoints)

    def ended(self, pid: int) -> None:
        """Kill what is left of its group, lest it works beside a successor, and withdraw its addresses."""
        process.kill_group(pid)
        if endpoints_of(self._run_dir, self.key, pid) is not None:  # it had no time to do it itself
            endpoint_file(self._run_dir, self.key).unlink(missing_ok=True)


class ServerProgram:
    """A server that the platform has started: watched from then on, and started again at its address."""

    def __init__(self, platform: LocalPlatform, server: Server) -> None:
        self._platform, self._server = platform, server
        self._adopted = False
        self._ready_pid: int | None = None
        self.key = self.role = server.name
        self.log, self.stop_timeout_s = server.log, server.stop_timeout_s

    def start(self) -> Child:
        """The process that the platform started, the first time; after that, another one on the same data and port."""
        first = None if self._adopted else self._server.process
        self._adopted = True
        return first or self._platform.relaunch(self._server)

    def look(self, pid: int) -> Look | None:
        """Whether it answers; asked until it has, since it is busy enough."""
        if self._ready_pid != pid and self._server.answers():
            self._ready_pid = pid
        return Look(ready=self._ready_pid == pid, detail="", endpoints={self.key: self._server.address})

    def ended(self, pid: int) -> None:
        """Kill what is left of its group."""
        process.kill_group(pid)
