"""A worker's end: what its clients ask is done in all workers, by way of the role's main process."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace.runtime.errors import DependencyError
from headrace.runtime.settings import ServiceSettings
from services.inference.oip import messages
from services.inference.oip.messages import ModelFailed, OipError, Unavailable
from services.inference.rpc.control.connection import ANSWER_S, Connection, Refusal
from services.inference.rpc.control.hub import socket_of
from services.inference.rpc.control.operations import Operations

_ERRORS = {name: kind for name, kind in vars(messages).items() if isinstance(kind, type) and issubclass(kind, OipError)}


def socket_of_worker(settings: ServiceSettings) -> Path:
    """The main process's socket: the worker is called `<instance>.<number>`."""
    return socket_of(settings.run_folder, settings.instance.rpartition(".")[0])


class Member:
    """Reaches all workers.

    Args:
        operations: what is done in this process.
        path: the main process's socket.
    """

    def __init__(self, operations: Operations, path: Path) -> None:
        self._operations, self._path = operations, path
        self._connection: Connection | None = None
        self._serving: asyncio.Task[None] | None = None

    async def join(self) -> None:
        """Become as the other workers are; to be called before anybody is answered.

        Raises:
            DependencyError: the main process does not answer.
        """
        try:
            reader, writer = await asyncio.open_unix_connection(self._path)
            self._connection = Connection(reader, writer, self._asked)
            self._serving = asyncio.create_task(self._connection.serve())
            await self._connection.ask("join", ())
        except (OSError, Refusal) as error:
            raise DependencyError(f"the role's main process does not answer on {self._path}: {error}") from error

    async def close(self) -> None:
        """Leave."""
        if self._connection is not None and self._serving is not None:
            await self._connection.close()
            await self._serving

    async def do(self, name: str, arguments: Sequence[Any]) -> Any:
        """See `Operations.do`; in all workers."""
        if self._connection is None:
            raise Unavailable("the server is not ready")
        try:
            return await self._connection.ask(name, arguments, 2 * ANSWER_S)
        except Refusal as error:
            raise _ERRORS.get(error.kind, ModelFailed)(str(error)) from None

    async def _asked(self, _: Connection, name: str, arguments: list[Any]) -> Any:
        try:
            return await self._operations.do(name, arguments)
        except OipError as error:
            raise Refusal(type(error).__name__, str(error)) from error
