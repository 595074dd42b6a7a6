"""Child processes that never outlive us, and processes known by more than a reusable pid."""

import os
import queue
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_LAUNCHER = Path(__file__).with_name("parent_death.py")
_FIRST_PORT, _LAST_PORT, _PORT_TRIES = 20_000, 32_768, 100
_SAME_START_S = 2.0  # the clock may be corrected between two readings of one process's start


@dataclass(frozen=True)
class ProcessId:
    """A process by pid and start time: a pid alone may since belong to somebody else."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """The identity of the process that has `pid` now, or None."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.Error:
            return None

    @classmethod
    def parse(cls, value: Any) -> "ProcessId | None":
        """From `as_dict`'s form in a file; None for anything else."""
        try:
            return cls(int(value["pid"]), float(value["started"]))
        except (TypeError, KeyError, ValueError):
            return None

    def as_dict(self) -> dict[str, Any]:
        """As plain values for a file."""
        return {"pid": self.pid, "started": self.started}

    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return self._process() is not None

    def _process(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) <= _SAME_START_S
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None

    def terminate(self, timeout: float) -> bool:
        """SIGTERM, `timeout` seconds, then SIGKILL to its group. True if it ended by itself.

        For processes not our children.
        """
        process = self._process()
        if process is None:
            return True
        process.terminate()
        if wait_until(lambda: not self.alive(), timeout):
            return True
        kill_group(self.pid)
        wait_until(lambda: not self.alive(), 5.0)
        return False


class _Spawner:
    """One thread that makes all children and lives as long as the process.

    Linux takes the death of the *thread* that made a child for the death of its parent: children made by a short-lived
    thread would be killed when that thread ends.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]]
        self._work = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._owner = 0

    def run(self, make: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Call `make` in the spawning thread."""
        with self._lock:
            if self._owner != os.getpid():  # first use, or a fork left the thread behind
                self._owner, self._work = os.getpid(), queue.SimpleQueue()
                threading.Thread(target=self._loop, args=(self._work,), name="spawner", daemon=True).start()
        future: Future[subprocess.Popen[bytes]] = Future()
        self._work.put((make, future))
        return future.result()

    @staticmethod
    def _loop(work: "queue.SimpleQueue[Any]") -> None:
        while True:
            make, future = work.get()
            try:
                future.set_result(make())
            except OSError as error:
                future.set_exception(error)


_spawner = _Spawner()


def tied(command: Sequence[str]) -> list[str]:
    """The command as a child of this process that the kernel kills when the thread that started it ends."""
    return [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *command]


def spawn(
    command: Sequence[str], log: Path, env: Mapping[str, str] | None = None, *, stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, its output appended to `log`; it is killed when this process dies.

    Its own session keeps a terminal's Ctrl-C away from it: whoever started it stops it, in order. `env` is its whole
    environment, ours where None; `stdin` a file descriptor for its standard input.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    whole = tied(command)
    with log.open("ab") as output:

        def make() -> subprocess.Popen[bytes]:
            return subprocess.Popen(  # noqa: S603 - our own commands
                whole,
                stdin=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )

        return _spawner.run(make)


def stop(process: subprocess.Popen[bytes], timeout: float) -> bool:
    """SIGTERM, `timeout` seconds, then SIGKILL to its whole group. True if it ended by itself."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        return False
    else:
        return True
    finally:
        kill_group(process.pid)  # and what it may have left behind
        process.wait()


def kill_group(pid: int) -> None:
    """SIGKILL to the group that `pid` leads, if there is any left of it."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def wait_until(condition: Callable[[], bool], timeout: float, every: float = 0.02) -> bool:
    """Whether `condition` became true within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every)
    return True


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on now.

    It lies below the range that the kernel gives to outgoing connections: while a server restarts, a client that keeps
    trying its port would otherwise some day be given that very port, connect to itself, and keep the server out.
    """
    lowest = min(_LAST_PORT, _first_outgoing_port())
    for _ in range(_PORT_TRIES if lowest > _FIRST_PORT else 0):
        port = _FIRST_PORT + secrets.randbelow(lowest - _FIRST_PORT)
        if port_is_free(port):
            return port
    with socket.socket() as probe:  # an unusual machine: take what the kernel gives
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _first_outgoing_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _LAST_PORT


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
