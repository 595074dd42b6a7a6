"""Makes several workers one server: has each operation done in all of them, one operation after another.

1. The worker whose client asks does it first. If it refuses, nothing else happens.
2. All others do it. If one refuses, as where a file went away meanwhile, a region is taken from all again.
3. It is noted, and so done in every worker that starts later, before that listens.

Statistics are sums over the workers; those of one that ended stay in them as they were when last asked for.
"""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace.runtime.logging import get_logger
from services.inference.rpc.control.connection import UNAVAILABLE, Connection, Refusal
from services.inference.rpc.control.journal import Journal
from services.inference.rpc.control.statistics import Statistics, merged

log = get_logger("headrace.rpc")

CHANGES = ("load", "unload", "register", "unregister", "logging", "trace")

_LONGEST_SOCKET_PATH = 100  # the kernel takes 107 bytes


def socket_of(run_folder: Path, instance: str) -> Path:
    """The Unix socket of the role's main process: in its run's folder, or a short name where that is too long."""
    path = run_folder.absolute() / f"{instance}.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"headrace-rpc-{os.getuid()}-{name}.sock"


class Hub:
    """The main process's end. It belongs to the event loop's thread.

    Args:
        path: the Unix socket to listen on; one that is left over is replaced.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._members: dict[Connection, Statistics] = {}
        self._gone: Statistics = []
        self._journal, self._lock = Journal(), asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Listen, for this user alone."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        self._path.chmod(0o600)

    async def close(self) -> None:
        """Let all workers go."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        for connection in list(self._connections):
            await connection.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer, self._asked)
        self._connections.add(connection)
        try:
            await connection.serve()
        finally:
            self._connections.discard(connection)
            self._gone = merged([self._gone, self._members.pop(connection, [])])

    async def _asked(self, origin: Connection, name: str, arguments: list[Any]) -> Any:
        """Do it to its end, even where the worker that asks dies meanwhile."""
        task = asyncio.create_task(self._do(origin, name, arguments))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # nobody may be left to be told

    async def _do(self, origin: Connection, name: str, arguments: list[Any]) -> Any:
        async with self._lock:
            if name == "join":
                return await self._join(origin)
            if name == "statistics":
                return await self._statistics(origin, arguments)
            if name in CHANGES:
                return await self._everywhere(origin, name, arguments)
        raise Refusal(UNAVAILABLE, f"there is no operation '{name}'")

    async def _join(self, worker: Connection) -> None:
        for name, arguments in self._journal.standing():
            try:
                await worker.ask(name, arguments)
            except Refusal as error:
                log.warning("a worker that starts cannot be as the others are", operation=name, error=str(error))
        self._members[worker] = []

    async def _everywhere(self, origin: Connection, name: str, arguments: list[Any]) -> Any:
        value = await origin.ask(name, arguments)
        self._journal.note(name, arguments)
        errors = [error for error in await self._others(origin, name, arguments) if isinstance(error, Refusal)]
        if not errors:
            return value
        if name == "register":
            await self._undo_register(origin, arguments[0])
        raise errors[0]

    async def _others(self, origin: Connection, name: str, arguments: Sequence[Any]) -> list[Any]:
        """What all other workers answer, errors included; those that end meanwhile are left out."""
        others = [worker for worker in self._members if worker is not origin]
        answers = await asyncio.gather(*(one.ask(name, arguments) for one in others), return_exceptions=True)
        return [answer for one, answer in zip(others, answers, strict=True) if not one.lost]

    async def _undo_register(self, origin: Connection, region: str) -> None:
        self._journal.note("unregister", [region])
        await asyncio.gather(
            origin.ask("unregister", [region]), self._others(origin, "unregister", [region]), return_exceptions=True
        )

    async def _statistics(self, origin: Connection, arguments: list[Any]) -> Statistics:
        wanted = [one["name"] for one in await origin.ask("statistics", arguments)]
        members = list(self._members)
        answers = await asyncio.gather(*(one.ask("statistics", []) for one in members), return_exceptions=True)
        for worker, answer in zip(members, answers, strict=True):
            if worker in self._members and isinstance(answer, list):
                self._members[worker] = answer
        first = self._members.get(origin, [])  # whose versions are told
        others = [told for worker, told in self._members.items() if worker is not origin]
        return [one for one in merged([first, *others, self._gone]) if one["name"] in wanted]
