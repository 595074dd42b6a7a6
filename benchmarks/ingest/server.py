"""One server: `python -m benchmarks.ingest.server headrace|grpc_aio` prints its address, and ends with its input."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import msgspec
import uvloop

from headrace.contracts import ingest_pb2_grpc
from services.ingest.grpc import GrpcServer, IngestServicer
from services.ingest.service import Ingest, KeyedRecord, StreamSchema

LARGEST = 8 << 20


class Event(msgspec.Struct):
    """As wide as the rides' are."""

    id: str
    zone: int
    distance_km: float
    requested_at: int


class Log:
    """Acknowledges everything, and keeps nothing."""

    async def append(self, topic: str, records: Sequence[KeyedRecord], traceparent: str | None) -> Mapping[int, str]:  # noqa: ARG002
        """See `RecordLog`."""
        return {}


def logic() -> Ingest:
    """The role's own."""
    schema = StreamSchema("bench.events", msgspec.json.Decoder(Event), "id")
    return Ingest({("bench", "events"): schema}, Log(), max_in_flight=1 << 20, max_record_bytes=1 << 20)


async def headrace() -> tuple[Any, str]:
    """The role's server."""
    server = GrpcServer(logic(), "127.0.0.1", 0, max_request_bytes=LARGEST)
    await server.start()
    return server, server.address


async def grpc_aio() -> tuple[Any, str]:
    """The same servicer behind grpc.aio."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", LARGEST)])
    ingest_pb2_grpc.add_IngestServicer_to_server(IngestServicer(logic()), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"


SERVERS = {"headrace": headrace, "grpc_aio": grpc_aio}


async def main(kind: str) -> None:
    """Serve until the input ends."""
    server, address = await SERVERS[kind]()
    print(address, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
