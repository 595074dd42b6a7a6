"""A worker's connection to its host's agent.

Connects, introduces itself, delivers messages, and connects again, for ever.
"""

import contextlib
import hashlib
import os
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from headrace.runtime.logging import get_logger
from headrace.weights.errors import WeightsError
from headrace.weights.worker.wire import Hello, ToAgent, ToWorker, frame, receive

log = get_logger("headrace.weights")

FIRST_RETRY_S = 0.02
LAST_RETRY_S = 1.0
_LONGEST_SOCKET_PATH = 100  # the kernel takes 107 bytes


def socket_in(run_folder: Path) -> Path:
    """Return the Unix socket of a run's agent: `<run_dir>/agent.sock`, or a short name where that is too long."""
    path = run_folder.absolute() / "agent.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"headrace-agent-{os.getuid()}-{name}.sock"


class AgentClient:
    """One thread that holds the connection.

    Args:
        socket_path: the agent's Unix socket; it may appear later, and go and come back.
        hello: makes the introduction, anew for each connection.
        on_message: called from the client's thread for every message, in order; it must not block for long.
    """

    def __init__(self, socket_path: Path, hello: Callable[[], Hello], on_message: Callable[[ToWorker], None]) -> None:
        self._path = socket_path
        self._hello = hello
        self._on_message = on_message
        self._stopping = threading.Event()
        self._sending = threading.Lock()
        self._sock: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="weights-agent-client", daemon=True)

    @property
    def connected(self) -> bool:
        """Whether the agent has been greeted on a connection that still stands."""
        return self._sock is not None

    def start(self) -> None:
        """Connect in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Close the connection and end the thread."""
        self._stopping.set()
        sock = self._sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join()

    def send(self, message: ToAgent) -> bool:
        """Send a message; False if there is no connection now, in which case the next `Hello` says what matters."""
        with self._sending:
            sock = self._sock
            if sock is None:
                return False
            try:
                sock.sendall(frame(message))
            except OSError:
                return False  # the reading thread sees the same and connects again
            return True

    def _run(self) -> None:
        pause = FIRST_RETRY_S
        while not self._stopping.is_set():
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                    sock.connect(str(self._path))
                    self._talk(sock)
                    pause = FIRST_RETRY_S
            except OSError as error:
                log.debug("no agent", socket=str(self._path), error=str(error))
            except WeightsError as error:
                log.warning("connection to the agent given up", socket=str(self._path), error=error.message)
            self._stopping.wait(pause)
            pause = min(pause * 2, LAST_RETRY_S)

    def _talk(self, sock: socket.socket) -> None:
        with self._sending:
            sock.sendall(frame(self._hello()))
            self._sock = sock
        log.info("connected to the agent", socket=str(self._path))
        try:
            while not self._stopping.is_set() and (message := receive(sock)) is not None:
                self._on_message(message)
        finally:
            with self._sending:
                self._sock = None
            log.info("disconnected from the agent", socket=str(self._path))
