"""Which method answers which path."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headrace.grpcserver.calls import Call, Status
from headrace.grpcserver.servicers import ServicerMethod
from headrace.runtime.access.grpc import GuardedCalls
from headrace.runtime.logging import get_logger

if TYPE_CHECKING:
    import grpc

log = get_logger("headrace.grpc")

RawMethod = Callable[[Call, bytes], None]
"""Gets a call and its message, and answers by `Call.reply` or `Call.fail`, then or later, on the event loop's thread.
"""


class Methods:
    """The methods of a server. The first two of its methods have the names and arguments that generated code calls."""

    def __init__(self) -> None:
        self._methods: dict[str, Callable[[Call], None]] = {}
        self._guarded: GuardedCalls | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def add_registered_method_handlers(
        self, service: str, handlers: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]"
    ) -> None:
        """Answer a service's methods by a servicer's."""
        for name, handler in handlers.items():
            self._methods[f"/{service}/{name}"] = ServicerMethod(handler, self._tasks).begin

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Nothing: generated code calls it beside `add_registered_method_handlers`, with the same methods."""

    def add_raw_method(self, path: str, method: RawMethod) -> None:
        """Answer `/package.Service/Method`, unary, by a callable that gets bytes.

        What it raises fails its call alone.
        """

        def take(call: Call, message: bytes) -> None:
            try:
                method(call, message)
            except Exception:
                log.exception("a gRPC method failed", method=path)
                call.fail(Status.INTERNAL, "internal error")

        def begin(call: Call) -> None:
            call.on_message = lambda message: take(call, message or b"")

        self._methods[path] = begin

    def begin(self, call: Call) -> None:
        """See `headrace.grpcserver.connection.Calls`."""
        method = self._methods.get(call.path)
        if method is None:
            call.fail(Status.UNIMPLEMENTED, f"no method {call.path}")
        elif self._guarded is not None:
            self._guarded.begin(call, method)
        else:
            method(call)
