"""Calls of grpcio's client, answered by our server."""

import asyncio
import os

import grpc
import pytest

from headrace.grpcserver import Status
from tests.patience import eventually
from tests.unit.grpcserver.echo import Echo, client, method, serving


async def test_a_unary_call_carries_metadata_both_ways() -> None:
    echo = Echo()
    async with serving(echo) as server, client(server) as channel:
        call = method(channel, "Unary")(b"hello", metadata=[("trace", "1"), ("blob-bin", b"\x00\xff")])
        assert await call == b"hello"
        assert ("trace", "1") in echo.seen
        assert ("blob-bin", b"\x00\xff") in echo.seen
        assert not [name for name, _ in echo.seen if name.startswith((":", "grpc-")) or name == "te"]
        assert tuple(await call.trailing_metadata()) == (("answered-by", "echo"),)


async def test_empty_and_large_messages_pass_whole() -> None:
    echo = Echo()
    async with serving(echo) as server, client(server) as channel:
        for size in (0, 1, 16_379, 16_384, 65_535, 1 << 20, 20 << 20):
            message = os.urandom(size)
            assert await method(channel, "Unary")(message) == message
            assert await method(channel, "Raw")(message) == message[::-1]


async def test_a_message_above_the_limit_is_refused_and_the_connection_goes_on() -> None:
    async with serving(Echo(), max_message_bytes=1000) as server, client(server) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await method(channel, "Raw")(b"x" * 1001)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "1001 bytes" in str(raised.value.details())
        assert await method(channel, "Raw")(b"ab") == b"ba"


@pytest.mark.parametrize("packed", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_messages_are_unpacked_within_the_limit(packed: grpc.Compression) -> None:
    async with serving(Echo(), max_message_bytes=1 << 20) as server, client(server, compression=packed) as channel:
        assert await method(channel, "Raw")(b"a" * 100_000) == b"a" * 100_000
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await method(channel, "Raw")(bytes(2 << 20))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_errors_say_what_the_method_said_and_never_more() -> None:
    async with serving(Echo()) as server, client(server) as channel:
        for name, code, details in (
            ("Refuse", grpc.StatusCode.INVALID_ARGUMENT, "not ‘x’\n100%"),
            ("Broken", grpc.StatusCode.INTERNAL, "internal error"),
            ("Missing", grpc.StatusCode.UNIMPLEMENTED, "no method /test.Echo/Missing"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await method(channel, name)(b"x")
            assert (raised.value.code(), raised.value.details()) == (code, details)


async def test_streams_go_both_ways_and_wait_for_a_reader_that_is_slow() -> None:
    async with serving(Echo()) as server, client(server) as channel:
        received = 0
        async for part in method(channel, "Repeat", "unary_stream")(b"200"):
            received += len(part)
        assert received == 200 * 100_000
        parts = [os.urandom(50_000) for _ in range(100)]
        assert await method(channel, "Join", "stream_unary")(iter(parts)) == b"".join(parts)
        call = method(channel, "Both", "stream_stream")()
        for text in (b"one", b"two"):
            await call.write(text)
            assert await call.read() == text.upper()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


async def test_a_deadline_and_a_cancellation_reach_the_method() -> None:
    echo = Echo()
    async with serving(echo) as server, client(server) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await method(channel, "Slow")(b"", timeout=0.1)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await eventually(lambda: echo.cancelled == 1)
        call = method(channel, "RawLater")(b"")
        await eventually(lambda: len(echo.waiting) == 1)
        call.cancel()
        await eventually(lambda: echo.ended == [Status.CANCELLED])
        echo.waiting[0].reply(b"too late")  # does nothing
        assert await method(channel, "Raw")(b"ab") == b"ba"


async def test_the_server_keeps_deadlines_that_the_caller_does_not_enforce() -> None:
    echo = Echo()
    async with serving(echo) as server, client(server) as channel:
        call = method(channel, "RawLater")(b"", timeout=0.2)
        with pytest.raises(grpc.aio.AioRpcError):
            await call
        await eventually(lambda: len(echo.ended) == 1)
        assert echo.ended[0] in {Status.DEADLINE_EXCEEDED, Status.CANCELLED}  # whichever clock was first
        assert echo.waiting[0].ended


async def test_hundreds_of_calls_at_once_get_their_own_answers() -> None:
    async with serving(Echo()) as server, client(server) as channel:
        messages = [os.urandom(20 + i) for i in range(600)]
        answers = await asyncio.gather(*(method(channel, "Raw")(m) for m in messages))
        assert answers == [m[::-1] for m in messages]


async def test_a_stop_finishes_calls_in_hand_and_takes_no_more() -> None:
    echo = Echo()
    async with serving(echo) as server, client(server) as channel:
        call = method(channel, "RawLater")(b"")
        await eventually(lambda: len(echo.waiting) == 1)
        stopping = asyncio.create_task(server.stop(30.0))
        await asyncio.sleep(0)
        echo.waiting[0].reply(b"done")
        assert await call == b"done"
        await stopping
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await method(channel, "Raw")(b"ab")
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_clients_that_vanish_leave_nothing_behind() -> None:
    echo = Echo()
    async with serving(echo) as server:
        for _ in range(20):
            async with client(server) as channel:
                calls = [method(channel, "RawLater")(b"x") for _ in range(5)]
                await asyncio.sleep(0)
                await eventually(lambda: len(echo.waiting) >= 5)
                echo.waiting.clear()
            del calls
        await eventually(lambda: not server._connections)
        assert not server._tasks
        assert set(echo.ended) == {Status.CANCELLED}
        assert len(echo.ended) == 100
