"""The guard before the methods of a gRPC server."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from headrace.runtime.access.errors import Refused
from headrace.runtime.access.guard import Asked, Guard, credential_of
from headrace.runtime.access.keys import Principal
from headrace.runtime.access.scopes import grpc_scope
from headrace.runtime.errors import DependencyError

_UNAVAILABLE = 14


class GuardedCall(Protocol):
    """What the guard needs of `headrace.grpcserver.Call`."""

    path: str
    on_end: Any

    def header(self, name: str) -> str:
        """A header's value; "" where there is none."""
        ...

    def fail(self, status: Any, details: str) -> None:
        """End the call with an error."""
        ...


Begin = Callable[[Any], None]


class GuardedCalls:
    """Lets calls through to `begin`, or fails them.

    A token that was not seen before is checked in a thread. The call's messages wait meanwhile in `hold`, since they
    may come before the answer does.

    Args:
        status: makes the server's status of a number.
    """

    def __init__(self, guard: Guard, status: Callable[[int], Any]) -> None:
        self._guard, self._status = guard, status
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, call: Any, method: Begin) -> None:
        """Take a call whose headers have come."""
        needed = grpc_scope(call.path)
        if needed is None:
            method(call)
            return
        asked = Asked(call.path, needed, call.link.peer)
        credential = credential_of(call.header("authorization"), call.header("x-api-key"))
        try:
            principal = self._guard.known(credential)
        except Refused as refused:
            self._refuse(call, asked, None, refused)
            return
        if principal is not None:
            self._admit(call, asked, principal, method)
        else:
            task = asyncio.get_running_loop().create_task(self._identify(call, asked, credential, method))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _identify(self, call: Any, asked: Asked, credential: str, method: Begin) -> None:
        early: list[bytes | None] = []
        call.on_message = early.append
        try:
            principal = await self._guard.identify(credential)
        except Refused as refused:
            self._refuse(call, asked, None, refused)
            return
        except DependencyError as error:
            call.fail(self._status(_UNAVAILABLE), error.message)
            return
        if call.ended:
            return
        self._admit(call, asked, principal, method)
        for message in early:
            if not call.ended:
                call.on_message(message)

    def _admit(self, call: Any, asked: Asked, principal: Principal, method: Begin) -> None:
        try:
            self._guard.allow(principal, asked.scope)
        except Refused as refused:
            self._refuse(call, asked, principal, refused)
            return
        self._guard.answered(asked, principal, 0)
        method(call)

    def _refuse(self, call: GuardedCall, asked: Asked, principal: Principal | None, refused: Refused) -> None:
        self._guard.refused(asked, principal, refused, refused.grpc)
        call.fail(self._status(refused.grpc), str(refused))
