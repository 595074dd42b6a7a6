"""A service on both sides: generic handlers for the server, callables of grpcio's client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from headrace.grpcserver import Call, GrpcServer, Limits, Status

SERVICE = "test.Echo"


class Echo:
    """What the methods do, and what became of them."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.ended: list[Status] = []
        self.waiting: list[Call] = []
        self.seen: list[Any] = []

    async def unary(self, request: bytes, context: Any) -> bytes:
        self.seen = context.invocation_metadata()
        context.set_trailing_metadata([("answered-by", "echo")])
        return request

    async def refuse(self, request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"not ‘{request.decode()}’\n100%")

    async def broken(self, request: bytes, context: Any) -> bytes:
        raise KeyError("secret")

    async def slow(self, request: bytes, context: Any) -> bytes:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def repeat(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for _ in range(int(request)):
            yield b"x" * 100_000

    async def join(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"".join([request async for request in requests])

    async def both(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request.upper()

    def raw(self, call: Call, message: bytes) -> None:
        call.reply(message[::-1])

    def raw_later(self, call: Call, message: bytes) -> None:
        call.on_end = self.ended.append
        self.waiting.append(call)

    def handlers(self) -> dict[str, Any]:
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Refuse": grpc.unary_unary_rpc_method_handler(self.refuse),
            "Broken": grpc.unary_unary_rpc_method_handler(self.broken),
            "Slow": grpc.unary_unary_rpc_method_handler(self.slow),
            "Repeat": grpc.unary_stream_rpc_method_handler(self.repeat),
            "Join": grpc.stream_unary_rpc_method_handler(self.join),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
        }


@asynccontextmanager
async def serving(echo: Echo, **limits: Any) -> AsyncIterator[GrpcServer]:
    server = GrpcServer(limits=Limits(**limits))
    server.add_registered_method_handlers(SERVICE, echo.handlers())
    server.add_raw_method(f"/{SERVICE}/Raw", echo.raw)
    server.add_raw_method(f"/{SERVICE}/RawLater", echo.raw_later)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0.0)


@asynccontextmanager
async def client(server: GrpcServer, **options: Any) -> AsyncIterator[grpc.aio.Channel]:
    settings = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(server.address, options=settings, **options) as channel:
        yield channel


def method(channel: grpc.aio.Channel, name: str, kind: str = "unary_unary") -> Any:
    return getattr(channel, kind)(f"/{SERVICE}/{name}")
