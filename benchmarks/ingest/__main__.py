"""Run the benchmark: a server at a time has the load, and the rounds alternate."""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import grpc
from rich.console import Console
from rich.table import Table

from benchmarks.ingest.server import SERVERS
from headrace.contracts import ingest_pb2, ingest_pb2_grpc

OUT = Path("build/bench/ingest.json")
BATCHES = (1, 10, 100)
IN_FLIGHT = 16
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figures:
    """Of one server, one size of batches and way of sending them."""

    events_per_s: float
    cpu_us: float
    """The server's processor time for an event."""


def main() -> int:
    """Measure and report."""
    options = _options()
    found: dict[str, list[Figures]] = {}
    with ExitStack() as stack:
        servers = {kind: stack.enter_context(_server(kind)) for kind in SERVERS}
        for _ in range(options.rounds):
            for way in ("unary", "stream"):
                for batch in BATCHES:
                    for kind, (pid, address) in servers.items():
                        figures = asyncio.run(_measured(pid, address, way, batch, options.seconds))
                        found.setdefault(f"{way} {batch} {kind}", []).append(figures)
    _report({
        name: Figures(median(f.events_per_s for f in many), median(f.cpu_us for f in many))
        for name, many in found.items()
    })  # fmt: skip
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="five rounds of four seconds")
    options = parser.parse_args()
    options.rounds, options.seconds = (5, 4.0) if options.full else (3, 1.5)
    return options


@contextmanager
def _server(kind: str) -> Iterator[tuple[int, str]]:
    line = [sys.executable, "-m", "benchmarks.ingest.server", kind]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("pipes were asked for")
        try:
            yield process.pid, process.stdout.readline().strip()
        finally:
            process.stdin.close()


async def _measured(pid: int, address: str, way: str, batch: int, seconds: float) -> Figures:
    records = [b'{"id":"ride-%06d","zone":17,"distance_km":3.25,"requested_at":1764230400}' % n for n in range(batch)]
    request = ingest_pb2.ProduceRequest(pipeline="bench", stream=ingest_pb2.EVENTS, records=records)
    async with grpc.aio.insecure_channel(address) as channel:
        stub = ingest_pb2_grpc.IngestStub(channel)
        await stub.Produce(request)
        until, cpu, started = time.monotonic() + seconds, _cpu_s(pid), time.monotonic()
        send = _calls if way == "unary" else _stream
        sent = sum(await asyncio.gather(*(send(stub, request, until) for _ in range(IN_FLIGHT))))
        took = time.monotonic() - started
    return Figures(sent * batch / took, (_cpu_s(pid) - cpu) / (sent * batch) * 1e6)


async def _calls(stub: ingest_pb2_grpc.IngestStub, request: ingest_pb2.ProduceRequest, until: float) -> int:
    sent = 0
    while time.monotonic() < until:
        _check(request, await stub.Produce(request))
        sent += 1
    return sent


async def _stream(stub: ingest_pb2_grpc.IngestStub, request: ingest_pb2.ProduceRequest, until: float) -> int:
    sent, call = 0, stub.ProduceStream()
    while time.monotonic() < until:
        await call.write(request)
        _check(request, await call.read())
        sent += 1
    await call.done_writing()
    return sent


def _check(request: ingest_pb2.ProduceRequest, answer: ingest_pb2.ProduceResponse) -> None:
    if answer.accepted != len(request.records):
        raise RuntimeError(f"{answer.accepted} of {len(request.records)} events were taken")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def _report(found: dict[str, Figures]) -> None:
    console, table = Console(highlight=False), Table(title=f"{IN_FLIGHT} in flight")
    for name in ("", "headrace, events/s", "CPU µs", "grpc.aio, events/s", "CPU µs", "CPU, grpc.aio by headrace"):
        table.add_column(name, justify="right")
    ratios = {}
    for way in ("unary", "stream"):
        for batch in BATCHES:
            ours, theirs = found[f"{way} {batch} headrace"], found[f"{way} {batch} grpc_aio"]
            ratios[f"cpu_{way}_{batch}"] = round(theirs.cpu_us / ours.cpu_us, 2)
            cells = [f"{n:,.{d}f}" for one in (ours, theirs) for n, d in ((one.events_per_s, 0), (one.cpu_us, 1))]
            table.add_row(f"{way}, {batch} events a message", *cells, f"{theirs.cpu_us / ours.cpu_us:.2f}")
    console.print(table)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"figures": {k: vars(f) for k, f in found.items()}, "ratios": ratios}, indent=2))
    console.print(f"figures in {OUT}")


if __name__ == "__main__":
    sys.exit(main())
