"""500 clients of gRPC and REST at once, most of whom cancel, leave halfway, or die: nothing of them stays behind."""

import asyncio
import json
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hpack
import httpx
import numpy as np
import psutil
import pytest
from tritonclient.grpc import service_pb2 as pb

from headrace.grpcserver import frames
from headrace.grpcserver.frames import ErrorCode, frame
from tests.integration.rpc.rpc_clients import DATATYPES, TRIP
from tests.integration.rpc.rpc_process import Served
from tests.patience import WAIT_S, wait_for

CLIENTS, HALVES, PROCESSES = 500, 3, 4
FIELD = {"BYTES": "bytes_contents", "INT64": "int64_contents", "FP64": "fp64_contents", "BOOL": "bool_contents"}
GROWTH = 24 << 20
"""Bytes that a round may add once the rounds before have filled the caches: 500 connections left behind are more."""
DIES = """
import socket, sys, time
kept = []
for _ in range(int(sys.argv[2])):
    for part in sys.argv[3:]:
        kept.append(socket.create_connection(("127.0.0.1", int(part.split("=")[0]))))
        kept[-1].sendall(bytes.fromhex(part.split("=")[1]))
print("sent", flush=True)
time.sleep(float(sys.argv[1]))
"""


def by_grpc(trip: dict) -> bytes:
    request = pb.ModelInferRequest(model_name="trips")
    for name, datatype in DATATYPES.items():
        value = trip[name].encode() if datatype == "BYTES" else trip[name]
        getattr(request.inputs.add(name=name, datatype=datatype, shape=[1, 1]).contents, FIELD[datatype]).append(value)
    message = request.SerializeToString()
    headers = {
        ":method": "POST", ":scheme": "http", ":path": "/inference.GRPCInferenceService/ModelInfer", "te": "trailers",
        "content-type": "application/grpc",
    }  # fmt: skip
    opened = frame(frames.HEADERS, frames.END_HEADERS, 1, bytes(hpack.Encoder().encode(headers)))
    data = frame(frames.DATA, frames.END_STREAM, 1, struct.pack(">BI", 0, len(message)) + message)
    return frames.PREFACE + frames.settings({}) + opened + data


def by_rest(trip: dict) -> bytes:
    inputs = [{"name": n, "datatype": d, "shape": [1, 1], "data": [trip[n]]} for n, d in DATATYPES.items()]
    body = json.dumps({"inputs": inputs}).encode()
    return b"POST /v2/models/trips/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body


class Crowd:
    """Clients of one server."""

    def __init__(self, served: Served) -> None:
        self.served, self.process = served, psutil.Process(served.process.pid)
        self.ports = {"grpc": int(served.grpc.rpartition(":")[2]), "rest": int(served.http.rpartition(":")[2])}
        self.asks = {"grpc": by_grpc, "rest": by_rest}

    async def client(self, number: int) -> bool:
        """Connect, and do what this number does; True for one that stayed and was answered rightly."""
        transport = ("grpc", "rest")[number % 2]
        trip = {**TRIP, "zone": number % 100, "distance_km": number / 7}
        sent = self.asks[transport](trip)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[transport])
        match number // 2 % 5:
            case 0 | 1:
                writer.write(sent)
                try:
                    return await self._answered(transport, trip, reader)
                finally:
                    writer.close()
            case 2:  # cancels: gRPC has a word for it
                writer.write(sent + (frames.rst_stream(1, ErrorCode.CANCEL) if transport == "grpc" else b""))
                writer.close()
            case 3:  # leaves halfway
                writer.write(sent[: len(sent) // 2])
                writer.close()
            case _:  # dies: a reset connection
                writer.write(sent[: len(sent) - number % 3 * 9])
                writer.transport.abort()
        return False

    async def _answered(self, transport: str, trip: dict, reader: asyncio.StreamReader) -> bool:
        event = self.served.pipeline.model.event_type()(**trip)
        (expected,) = self.served.by_hand([event])
        async with asyncio.timeout(WAIT_S):
            if transport == "grpc":
                return np.float64(expected).tobytes() in await reader.readuntil(b"grpc-status\x010")
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().split(b"content-length: ")[1].split(b"\r")[0])
            found = json.loads(await reader.readexactly(size))["outputs"][0]["data"]
            return found == [expected]

    def round(self) -> None:
        """All of them at once."""

        async def all_of_them() -> int:
            return sum(await asyncio.gather(*(self.client(i) for i in range(CLIENTS))))

        dying = [self._dying() for _ in range(PROCESSES)]
        answered = asyncio.run(all_of_them())
        for process in dying:
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=WAIT_S)
        assert answered == sum(i // 2 % 5 < 2 for i in range(CLIENTS)), "who stayed is answered"

    def _dying(self) -> "subprocess.Popen[bytes]":
        whole = {name: ask(TRIP) for name, ask in self.asks.items()}
        parts = [f"{self.ports[name]}={data[:-5].hex()}" for name, data in whole.items()]
        command = [sys.executable, "-S", "-c", DIES, str(WAIT_S), str(HALVES), *parts]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"sent\n"
        return process

    def connections(self) -> int:
        return sum(one.status == psutil.CONN_ESTABLISHED for one in self.process.net_connections("tcp"))

    def counted(self) -> dict[str, int]:
        with httpx.Client(base_url=self.served.endpoints["rest"], timeout=WAIT_S) as client:
            (stats,) = client.get("/v2/models/trips/stats").json()["model_stats"]
        return {name: int(stats["inference_stats"][name]["count"]) for name in ("success", "fail", "queue")}


@pytest.fixture
def crowd(served: Served) -> Iterator[Crowd]:
    return Crowd(served)


def test_what_leaves_is_forgotten_and_who_stays_is_answered(crowd: Crowd) -> None:
    for _ in range(2):
        crowd.round()  # what is allocated once: threads, caches, buffers
    wait_for(lambda: not crowd.connections())
    files, threads, before = crowd.process.num_fds(), crowd.process.num_threads(), crowd.process.memory_info().rss
    counted = crowd.counted()

    for _ in range(2):
        crowd.round()

    wait_for(lambda: not crowd.connections())
    wait_for(lambda: crowd.process.num_fds() <= files)
    assert crowd.process.num_threads() <= threads
    assert crowd.process.memory_info().rss - before < GROWTH
    after = crowd.counted()
    stayed = 2 * sum(i // 2 % 5 < 2 for i in range(CLIENTS))
    whole = after["success"] - counted["success"]
    assert stayed <= whole + after["fail"] - counted["fail"] <= 2 * CLIENTS
    assert whole >= stayed
    assert crowd.served.process.poll() is None


def test_the_server_serves_on(served: Served) -> None:
    answer = httpx.post(
        f"{served.endpoints['rest']}/v2/models/trips/infer",
        content=by_rest(TRIP).partition(b"\r\n\r\n")[2],
        timeout=WAIT_S,
    )
    assert answer.json()["outputs"][0]["data"] == served.by_hand([served.pipeline.model.event_type()(**TRIP)])
    log = Path(served.process.args[6]) / "rpc.log"  # type: ignore[index]
    assert "Traceback" not in log.read_text()
