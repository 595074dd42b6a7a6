"""The agent's Unix socket: workers' messages go in, and the agent's go out. See headrace.weights.worker.wire."""

import asyncio
import contextlib
import fcntl
import itertools
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from headrace.runtime.errors import ConfigError
from headrace.runtime.logging import get_logger
from headrace.weights.errors import WeightsError
from headrace.weights.worker.wire import ToAgent, ToWorker, frame, frame_length, to_agent

log = get_logger("headrace.ckpt")


class WorkerSocket:
    """Listens for workers; everything runs on the event loop.

    Args:
        path: the socket's path.
        on_message: called with each message and the number of its connection.
        on_gone: called with the number of each connection that ended.
    """

    def __init__(self, path: Path, on_message: Callable[[int, ToAgent], None], on_gone: Callable[[int], None]) -> None:
        self._path = path
        self._on_message = on_message
        self._on_gone = on_gone
        self._numbers = itertools.count(1)
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None
        self._lock = -1

    async def open(self) -> None:
        """Listen.

        Raises:
            ConfigError: another agent of this run is alive on this host.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another agent listens on {self._path}",
                hint="one agent per host and run: stop it, or use another run_dir",
            ) from error
        self._path.unlink(missing_ok=True)  # its owner is dead: its lock was free
        before = os.umask(0o177)  # nobody else may connect, from the moment that it is there
        try:
            self._server = await asyncio.start_unix_server(self._serve, self._path)
        finally:
            os.umask(before)

    def send(self, connection: int, message: ToWorker) -> None:
        """Send a message to a worker, if it is still there."""
        writer = self._writers.get(connection)
        if writer is not None:
            writer.write(frame(message))

    async def close(self) -> None:
        """Stop listening and let every worker go."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers.values()):
            writer.close()
        for writer in list(self._writers.values()):
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        if self._lock >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (user := _user_of(writer)) not in (os.getuid(), 0):
            log.warning("a process of another user was turned away", uid=user, socket=str(self._path))
            writer.close()
            return
        connection = next(self._numbers)
        self._writers[connection] = writer
        try:
            while True:
                body = await reader.readexactly(frame_length(await reader.readexactly(4)))
                self._on_message(connection, to_agent(body))
        except (asyncio.IncompleteReadError, OSError):
            pass  # the worker closed, or died
        except WeightsError as error:
            log.warning("worker's connection given up", connection=connection, error=error.message)
        finally:
            del self._writers[connection]
            self._on_gone(connection)
            writer.close()


def _user_of(writer: asyncio.StreamWriter) -> int:
    """The user id of the process at the other end, as the kernel says (SO_PEERCRED)."""
    connection = writer.get_extra_info("socket")
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", found)[1])
