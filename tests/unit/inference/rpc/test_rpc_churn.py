"""Clients that connect, cancel and die by the hundred: whoever waits is answered, and nothing is left behind."""

import asyncio
import gc
import struct

import hpack

from headrace.grpcserver import Call, GrpcServer, frames
from headrace.grpcserver.frames import ErrorCode, frame
from services.inference.rpc.grpc.infer import RawInfer
from services.inference.rpc.models.registry import Registry
from tests.patience import WAIT_S, eventually
from tests.unit.inference.rpc.test_rpc_batching import World
from tests.unit.inference.rpc.test_rpc_raw_infer import message

PATH = "/inference.GRPCInferenceService/ModelInfer"
CLIENTS = 500


def opening() -> bytes:
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": PATH,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    block = bytes(hpack.Encoder().encode(headers))
    sent = message(1)
    data = struct.pack(">BI", 0, len(sent)) + sent
    start = frames.PREFACE + frames.settings({}) + frame(frames.HEADERS, frames.END_HEADERS, 1, block)
    return start + frame(frames.DATA, frames.END_STREAM, 1, data)


async def stays(port: int) -> bool:
    """Call, and wait for the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(opening())
    async with asyncio.timeout(WAIT_S):
        await reader.readuntil(b"grpc-status\x010")
    writer.close()
    return True


async def cancels(port: int) -> bool:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(opening() + frames.rst_stream(1, ErrorCode.CANCEL))
    await writer.drain()
    writer.close()
    return False


async def dies(port: int) -> bool:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(opening())
    await writer.drain()
    writer.transport.abort()
    return False


async def test_500_clients_that_stay_cancel_and_die() -> None:
    world = World()
    server = GrpcServer()
    server.add_raw_method(PATH, RawInfer(Registry([world.plane])))
    await server.start()
    port = int(server.address.rsplit(":", 1)[1])
    try:
        kinds = (stays, cancels, dies)
        answered = await asyncio.gather(*(kinds[i % 3](port) for i in range(CLIENTS)))
        assert sum(answered) == len(range(0, CLIENTS, 3))
        await eventually(lambda: not server._connections)
        await eventually(lambda: world.plane.waiting == 0)
        assert not server._tasks
        gc.collect()
        assert not [one for one in gc.get_objects() if type(one) is Call]
        (stats,) = world.plane.model_statistics()
        counts = stats["inference_stats"]
        assert counts["success"]["count"] >= sum(answered)
        assert counts["success"]["count"] + counts["fail"]["count"] <= CLIENTS
    finally:
        await server.stop(0.0)
        world.plane.close()
