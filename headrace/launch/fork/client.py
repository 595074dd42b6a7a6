"""The supervisor's side of the fork server: processes that it asks for are children of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from headrace.launch.fork.messages import MOST_BYTES, SERVER_MODULE, Start, Started
from headrace.launch.fork.preloaded import MODULES
from headrace.platform import process
from headrace.platform.files import note
from headrace.platform.parent_death import become_parent_of_orphans

ANSWER_TIMEOUT_S = 60.0
"""How long a request may take, the imports of a fork server that was just started included."""
_ENDS_WITHIN_S = 1.0
_READ_AT_START = (
    "PYTHON", "LD_", "MALLOC_", "GLIBC_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "CUDA_", "TORCH", "PYTORCH_",
    "GRPC_", "FAUST_",
)  # fmt: skip
"""Variables by prefix that the interpreter or a preloaded library reads once, when it starts or is imported."""
_ROOM_FOR_TITLE = " " * 400
"""An argument whose memory each forked process overwrites with its own command line, which `ps` shows."""


class ForkError(Exception):
    """The fork server cannot start this process; a new interpreter may."""


class ForkedChild:
    """A child process that came from the fork server: as `subprocess.Popen`, for waiting and signals."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        with self._lock:
            return self._reap(os.WNOHANG)

    def wait(self) -> int:
        """Its exit code, once it has ended, what is left of its group killed."""
        with contextlib.suppress(ChildProcessError):  # `poll` has reaped it
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            code = self._reap(0)
        with contextlib.suppress(ChildProcessError):
            while True:  # processes of its group that are ours since it ended
                os.waitpid(-self.pid, 0)
        return 0 if code is None else code

    def send_signal(self, number: int, /) -> None:
        """Send a signal, unless it has ended."""
        with self._lock:
            if self._reap(os.WNOHANG) is None:
                os.kill(self.pid, number)

    def _reap(self, options: int) -> int | None:
        """With the lock held, so that its pid is nobody else's while a signal is sent."""
        if self._code is None and os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | options):
            process.kill_group(self.pid)
            _, status = os.waitpid(self.pid, 0)
            self._code = os.waitstatus_to_exitcode(status)
        return self._code


class ForkServer:
    """Starts roles by forking a process that has imported what they need. Thread-safe. Linux only: see `supported`.

    Args:
        log: where its own output goes, and a line for each time that it had to be started again.
        env: its environment: of what the interpreter and libraries read once, every role's.
        modules: what it imports when it starts.
    """

    def __init__(self, log: Path, env: Mapping[str, str], modules: Sequence[str] = MODULES) -> None:
        self._log, self._env, self._modules = log, dict(env), modules
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._stopped = False

    @staticmethod
    def supported() -> bool:
        """Whether roles can be forked here: it takes Linux, which gives orphans to the supervisor and lists threads."""
        return sys.platform == "linux"

    @property
    def pid(self) -> int | None:
        """Its process; None while there is none."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it, and return while it imports."""
        with self._lock:
            self._start()

    def suits(self, env: Mapping[str, str]) -> bool:
        """Whether a process with this environment can be forked: variables that are read once must be the same."""
        return _read_at_start(env) == _read_at_start(self._env)

    def spawn(
        self, module: str, args: Sequence[str], log: Path, env: Mapping[str, str], modules: Sequence[str] = ()
    ) -> ForkedChild:
        """Start `python -m <module> <args>` in a session of its own; it is killed when this process dies.

        The fork server first imports those of `modules` that it has not imported yet.
        A fork server that has died is started again, once; roles that it forked before are not concerned.

        Raises:
            ForkError: it cannot be done.
        """
        request = msgspec.json.encode(Start(module, tuple(args), dict(env), str(log), tuple(modules)))
        with self._lock:
            try:
                return self._ask(request)
            except OSError as error:
                if self._stopped:
                    raise ForkError("the fork server is stopped") from error
                note(self._log, f"the fork server is started again: {self._end() or error}")
            try:
                return self._ask(request)
            except OSError as error:
                self._end()
                raise ForkError(f"the fork server does not answer: {error}") from error

    def _ask(self, request: bytes) -> ForkedChild:
        control = self._control or self._start()
        control.send(request)
        reply = control.recv(MOST_BYTES)
        if not reply:
            raise ConnectionResetError("it closed the connection")
        started = msgspec.json.decode(reply, type=Started)
        if not started.pid:
            raise ForkError(started.error)
        try:
            control.recv(MOST_BYTES)  # GONE_ON; without it the new process ends with 1
        except OSError:
            self._end()  # the next request starts another one
        return ForkedChild(started.pid)

    def _start(self) -> socket.socket:
        if self._stopped:
            raise ConnectionAbortedError("the fork server is stopped")
        become_parent_of_orphans()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST_BYTES)
        ours.settimeout(ANSWER_TIMEOUT_S)
        command = [sys.executable, "-m", SERVER_MODULE, _ROOM_FOR_TITLE, *self._modules]
        try:
            self._process = process.spawn(command, self._log, self._env, stdin=theirs.fileno())
        finally:
            theirs.close()
        self._control = ours
        return ours

    def _end(self) -> str:
        """End what is left of it; how it ended, "" if it had to be killed."""
        control, child = self._control, self._process
        self._control = self._process = None
        if control is not None:
            control.close()
        if child is None:
            return ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_ENDS_WITHIN_S)  # its end of the connection is closed a moment before it is gone
        code = child.poll()
        process.stop(child, 0)
        return "" if code is None else f"it ended with {f'signal {-code}' if code < 0 else f'exit code {code}'}"

    def stop(self) -> None:
        """End it, and have requests that wait for it fail; processes that it forked go on. Harmless when repeated."""
        self._stopped = True
        if (child := self._process) is not None and child.poll() is None:
            child.send_signal(signal.SIGKILL)  # it holds nothing; and a request that waits holds the lock
        with self._lock:
            self._end()


def _read_at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_READ_AT_START)}
