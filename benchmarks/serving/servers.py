"""Servers as processes: started on their cores, waited for, watched, and ended by their ids."""

import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

START_S = 240.0
"""Most of a start is imports, which several servers do at once on the cores they share."""
_STOP_S = 15.0


class NotStarted(Exception):  # noqa: N818 - what it is
    """A server did not answer in time, or ended; the message has the end of its log."""


@dataclass(frozen=True)
class Address:
    """Where a server listens, by transport."""

    grpc: int = 0
    rest: int = 0
    host: str = "127.0.0.1"


@dataclass
class Server:
    """One process, and what it starts."""

    process: psutil.Popen
    log: Path
    address: Address = field(default_factory=Address)

    def cpu_s(self) -> float:
        """User and system time of the whole tree so far."""
        total = 0.0
        for process in self._tree():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def rss_mib(self) -> float:
        """Proportional resident memory of the tree: what processes share is counted once."""
        total = 0
        for process in self._tree():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += process.memory_full_info().pss
        return total / 2**20

    def alive(self) -> bool:
        """Whether the first process still runs."""
        return self.process.poll() is None

    def stop(self) -> None:
        """End the tree: SIGTERM to its first process, and after a while SIGKILL to what is left."""
        tree = self._tree()
        with suppress(psutil.NoSuchProcess):
            self.process.terminate()
        _, left = psutil.wait_procs(tree, timeout=_STOP_S)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=_STOP_S)

    def _tree(self) -> list[psutil.Process]:
        try:
            return [self.process, *self.process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def launch(line: Sequence[str], log: Path, env: Mapping[str, str]) -> Server:
    """Start a process; its output goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        return Server(psutil.Popen(list(line), stdout=out, stderr=subprocess.STDOUT, env=dict(env)), log)


def wait_until(server: Server, ready: Callable[[], bool], what: str) -> None:
    """Ask until it is so.

    Raises:
        NotStarted: it is not within `START_S`, or the process ended.
    """
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.alive():
        if ready():
            return
        time.sleep(0.05)
    raise NotStarted(f"{what} does not answer; {server.log}:\n{server.log.read_text(errors='replace')[-2000:]}")


def listening(host: str, *ports: int) -> bool:
    """Whether there is a listener on all these ports."""
    for port in ports:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Ports that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
