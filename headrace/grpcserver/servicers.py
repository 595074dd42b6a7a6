"""Servicers that grpcio's compiler generates, answered from here: their methods are coroutines and async generators.

A method sees a `Context` with what servicers use of `grpc.aio.ServicerContext`.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from headrace.grpcserver.calls import Call, Status, timeout_s
from headrace.runtime.logging import get_logger

if TYPE_CHECKING:
    import grpc

log = get_logger("headrace.grpc")


class Aborted(Exception):  # noqa: N818 - what a method is left by
    """A method gave up by `Context.abort`."""

    def __init__(self, status: Status, details: str) -> None:
        super().__init__(details)
        self.status = status


class Context:
    """One call, as its method sees it."""

    def __init__(self, call: Call, serialize: Callable[[Any], bytes]) -> None:
        self._call, self._serialize = call, serialize
        self._status, self._details = Status.OK, ""
        timeout = timeout_s(call.header("grpc-timeout")) if call.header("grpc-timeout") else None
        self._deadline = None if timeout is None else time.monotonic() + timeout

    async def abort(
        self, code: "grpc.StatusCode", details: str = "", trailing_metadata: Sequence[tuple[str, str]] = ()
    ) -> NoReturn:
        """End the call with an error.

        Raises:
            Aborted: always; a method must let it pass.
        """
        if trailing_metadata:
            self.set_trailing_metadata(trailing_metadata)
        raise Aborted(Status(code.value[0]), details)

    def set_code(self, code: "grpc.StatusCode") -> None:
        """The status with which the call ends."""
        self._status = Status(code.value[0])

    def set_details(self, details: str) -> None:
        """What goes with the status."""
        self._details = details

    def set_trailing_metadata(self, metadata: Sequence[tuple[str, str]]) -> None:
        """What is sent beside the status."""
        self._call.trailing = list(metadata)

    def invocation_metadata(self) -> list[tuple[str, str | bytes]]:
        """The caller's headers."""
        return self._call.metadata()

    def peer(self) -> str:
        """The caller's address."""
        return self._call.link.peer

    def time_remaining(self) -> float | None:
        """Seconds to the caller's deadline; None where there is none."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def cancelled(self) -> bool:
        """Whether the call has ended."""
        return self._call.ended

    async def write(self, message: Any) -> None:
        """Send one message of a streaming answer, and wait while the caller does not read."""
        self._call.send(self._serialize(message))
        await self._call.link.drained(self._call)

    def end(self, message: Any | None) -> None:
        """The method is done: answer with its message, or with the status that it set."""
        if self._status is not Status.OK:
            self._call.fail(self._status, self._details)
        elif message is None:
            self._call.finish()
        else:
            self._call.reply(self._serialize(message))


class Messages:
    """The messages of a streaming request, as an async iterator."""

    def __init__(self, call: Call, parse: Callable[[bytes], Any]) -> None:
        self._call, self._parse = call, parse
        self._queue: deque[bytes | None] = deque()
        self._waiting: asyncio.Future[None] | None = None

    def put(self, message: bytes | None) -> None:
        """Take a message, or None at the end."""
        self._queue.append(message)
        if message is not None:
            self._call.hold(len(message))
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._queue:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        message = self._queue.popleft()
        if message is None:
            self._queue.append(None)
            raise StopAsyncIteration
        self._call.hold(-len(message))
        return self._parse(message)


class ServicerMethod:
    """One method of a servicer, from its `grpc.RpcMethodHandler`.

    Args:
        tasks: the tasks of calls under way, kept so that the event loop does not forget them.
    """

    def __init__(self, handler: "grpc.RpcMethodHandler[Any, Any]", tasks: set[asyncio.Task[None]]) -> None:
        self._parse: Callable[[bytes], Any] = handler.request_deserializer or bytes
        self._serialize: Callable[[Any], bytes] = handler.response_serializer or bytes
        self._many_in, self._many_out = handler.request_streaming, handler.response_streaming
        self._tasks = tasks
        self._method: Any = next(
            method
            for method in (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
            if method is not None
        )

    def begin(self, call: Call) -> None:
        """Take a call whose headers have come."""
        if self._many_in:
            call.unary = False
            messages = Messages(call, self._parse)
            call.on_message = messages.put
            self._start(call, messages)
        else:
            call.on_message = lambda message: self._start(call, message)

    def _start(self, call: Call, request: Any) -> None:
        task = asyncio.get_running_loop().create_task(self._run(call, request))

        def cancel(_: Status) -> None:
            task.cancel()

        call.on_end = cancel
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, call: Call, request: Any) -> None:
        context = Context(call, self._serialize)
        try:
            await self._answer(call, request, context)
        except Aborted as aborted:
            call.fail(aborted.status, str(aborted))
        except asyncio.CancelledError:
            call.fail(Status.CANCELLED, "")
        except Exception:
            log.exception("a gRPC method failed", method=call.path)
            call.fail(Status.INTERNAL, "internal error")

    async def _answer(self, call: Call, request: Any, context: Context) -> None:
        if not self._many_in:
            try:
                request = self._parse(request)
            except Exception as error:
                raise Aborted(Status.INTERNAL, f"the message does not parse: {error}") from error
        result = self._method(request, context)
        if not self._many_out:
            context.end(await result)
        elif hasattr(result, "__aiter__"):
            async for message in result:
                if call.ended:
                    break
                await context.write(message)
            context.end(None)
        else:  # a coroutine that writes by `context.write`
            await result
            context.end(None)
