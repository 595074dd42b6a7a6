"""ingest over gRPC, by grpcio's own client: statuses, streams, limits, and an orderly end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import msgspec
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from headrace.contracts import ingest_pb2, ingest_pb2_grpc
from headrace.runtime.access.edge import Edge
from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings
from services.ingest.grpc import SERVICE, GrpcServer
from services.ingest.service import Ingest, KeyedRecord, StreamSchema
from tests.patience import WAIT_S, eventually

OPEN = Edge(ServiceSettings(), "ingest")
LARGEST = 1 << 16


class Event(msgspec.Struct):
    id: str
    x: float


class Log:
    """Acknowledges once `gate` is set; `refuse` says what it does not take."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.appended: list[tuple[str, bytes, str | None]] = []
        self.refuse: Callable[[], Mapping[int, str]] = dict

    async def append(self, topic: str, records: Sequence[KeyedRecord], traceparent: str | None) -> Mapping[int, str]:
        self.appended += [(topic, record.key, traceparent) for record in records]
        await self.gate.wait()
        return self.refuse()


class World:
    def __init__(self) -> None:
        decoder = msgspec.json.Decoder(Event)
        self.log = Log()
        schemas = {("p", stream): StreamSchema(f"p.{stream}", decoder, "id") for stream in ("events", "labels")}
        self.ingest = Ingest(schemas, self.log, max_in_flight=3, max_record_bytes=100)
        self.server = GrpcServer(self.ingest, "127.0.0.1", 0, edge=OPEN, max_request_bytes=LARGEST)


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[tuple[World, Any, grpc.aio.Channel]]:
    world = World()
    await world.server.start()
    channel = grpc.aio.insecure_channel(world.server.address, **options)
    try:
        yield world, ingest_pb2_grpc.IngestStub(channel), channel
    finally:
        world.log.gate.set()
        await channel.close()
        await world.server.stop(WAIT_S)


def asked(*records: bytes, pipeline: str = "p", stream: Any = ingest_pb2.EVENTS) -> ingest_pb2.ProduceRequest:
    return ingest_pb2.ProduceRequest(pipeline=pipeline, stream=stream, records=records)


def record(key: str) -> bytes:
    return msgspec.json.encode(Event(key, 1.0))


async def test_a_batch_is_appended_with_its_trace_and_what_does_not_fit_is_named() -> None:
    async with serving() as (world, stub, _):
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        answer = await stub.Produce(asked(record("a"), b"{}", record("b")), metadata=[("traceparent", trace)])

    assert (answer.accepted, [(r.index, "id" in r.reason) for r in answer.rejected]) == (2, [(1, True)])
    assert world.log.appended == [("p.events", b"a", trace), ("p.events", b"b", trace)]


async def test_batches_of_a_stream_are_answered_in_order() -> None:
    async with serving() as (world, stub, _):

        async def batches() -> AsyncIterator[ingest_pb2.ProduceRequest]:
            for n in range(5):
                yield asked(*[record(f"{n}-{i}") for i in range(n % 3)], stream=ingest_pb2.LABELS)

        answers = [answer.accepted async for answer in stub.ProduceStream(batches())]

    assert answers == [0, 1, 2, 0, 1]
    assert [key for _, key, _ in world.log.appended] == [b"1-0", b"2-0", b"2-1", b"4-0"]


async def test_each_error_has_its_status_and_the_next_call_is_answered() -> None:
    async with serving() as (world, stub, _):
        world.log.refuse = lambda: {0: "timed out"}
        for request, code in (
            (asked(record("a"), pipeline="nobody"), grpc.StatusCode.NOT_FOUND),
            (asked(record("a"), stream=ingest_pb2.STREAM_UNSPECIFIED), grpc.StatusCode.INVALID_ARGUMENT),
            (asked(record("a")), grpc.StatusCode.UNAVAILABLE),
            (asked(b"x" * LARGEST), grpc.StatusCode.RESOURCE_EXHAUSTED),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.Produce(request)
            assert (raised.value.code(), bool(raised.value.details())) == (code, True)
        world.log.refuse = dict
        assert (await stub.Produce(asked(record("z")))).accepted == 1


async def test_an_error_ends_a_stream_with_its_status() -> None:
    async with serving() as (_, stub, __):
        call = stub.ProduceStream(iter([asked(record("a")), asked(record("b"), pipeline="nobody")]))
        assert (await call.read()).accepted == 1
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call.read()

    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_what_is_beyond_the_records_that_may_wait_is_refused_until_they_are_acknowledged() -> None:
    async with serving() as (world, stub, _):
        world.log.gate.clear()
        first = asyncio.ensure_future(stub.Produce(asked(record("a"), record("b"), record("c"))))
        await eventually(lambda: world.ingest.in_flight == 3)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Produce(asked(record("d")))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        world.log.gate.set()
        assert (await first).accepted == 3


async def test_a_compressed_request_is_read() -> None:
    async with serving(compression=grpc.Compression.Gzip) as (_, stub, __):
        assert (await stub.Produce(asked(record("a" * 50), record("b" * 50)))).accepted == 2


async def test_a_callers_deadline_ends_its_call_and_frees_its_place() -> None:
    async with serving() as (world, stub, _):
        world.log.gate.clear()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Produce(asked(record("a"), record("b"), record("c")), timeout=0.2)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await eventually(lambda: world.ingest.in_flight == 0)
        world.log.gate.set()
        assert (await stub.Produce(asked(record("d")))).accepted == 1


async def test_health_and_reflection_are_there() -> None:
    async with serving() as (_, __, channel):
        for name in ("", SERVICE):
            checked = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
            assert checked.status == health_pb2.HealthCheckResponse.SERVING
        wish = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        (listed,) = [one async for one in reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(wish)]
        assert SERVICE in {one.name for one in listed.list_services_response.service}


async def test_calls_in_hand_are_finished_when_it_stops_and_no_more_are_taken() -> None:
    async with serving() as (world, stub, _):
        world.log.gate.clear()
        first = asyncio.ensure_future(stub.Produce(asked(record("a"))))
        await eventually(lambda: world.ingest.in_flight == 1)
        stopping = asyncio.create_task(world.server.stop(WAIT_S))
        await asyncio.sleep(0)
        world.log.gate.set()
        assert (await first).accepted == 1
        await stopping
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Produce(asked(record("b")))
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_port_that_is_taken_is_a_readable_error() -> None:
    async with serving() as (world, _, __):
        port = int(world.server.address.rsplit(":", 1)[1])
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"):
            GrpcServer(world.ingest, "127.0.0.1", port, edge=OPEN, max_request_bytes=LARGEST)
