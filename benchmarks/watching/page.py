"""What the page costs the gateway: its share of a core with pages open, and predictions and passing on beside them.

One run of examples/rides on this machine, replayed at a steady rate. A page is a connection that follows the sections
of the view Now, as a browser's does. All figures of one call are of the same gateway process:

- share: the gateway's processor time over the time on the clock, with 0, 1 and 50 pages;
- predict: requests a second and their times at 4 in flight, with 0 and 50 pages;
- passed on: a small answer of the role drift, asked directly and through the gateway; a large body, sent to a sink
  directly and through the gateway.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from headrace.platform.state import read_status
from headrace.runtime.endpoints import find, read_endpoints

RESULTS = Path("build/bench/page.json")
PIPELINE = Path("examples/rides")
VIEWS = {"now": "flow,kafka,roles", "models": "flow,rollouts"}
"""The sections that these views follow."""
PAGES, SHARE = 50, 0.10
RATE, IN_FLIGHT, BODY = 200, 4, 64 << 20
_START_S = 300.0


def main() -> int:
    """Measure this part alone, print and write it; the exit code is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="longer")
    figures = measure(full=parser.parse_args().full)
    print(json.dumps(figures, indent=1))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(figures, indent=1))
    return 0


def measure(*, full: bool) -> dict[str, Any]:
    """All figures; `reached` says whether 50 pages of each view cost at most a tenth of a core."""
    figures = asyncio.run(_measure(20.0 if full else 8.0))
    most = max(figures[f"share_{view}"][str(PAGES)]["share"] for view in VIEWS)
    return {**figures, "reached": {"pages_share": most <= SHARE}}


async def _measure(seconds: float) -> dict[str, Any]:
    """All figures, each over so many seconds."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sink = await stack.enter_async_context(_sink())
        run = await stack.enter_async_context(_run(folder, {"batch": sink}))
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=60.0))
        event = (await client.get(f"{run.url}/topics/events/records?last=1")).json()["records"][0]["value"]
        predict = lambda: client.post(f"{run.url}/predict", json=event)  # noqa: E731
        await predict()
        figures: dict[str, Any] = {"pages": PAGES, "rate": RATE, "in_flight": IN_FLIGHT}
        for view, sections in VIEWS.items():
            figures[f"share_{view}"] = {str(n): await _share(run, sections, n, seconds) for n in (0, 1, PAGES)}
        figures["predict"] = await _beside(run, predict, seconds)
        figures["small"] = {
            "direct": await _rate(lambda: client.get(f"{run.drift}/v1/alerts"), seconds),
            "passed_on": await _rate(lambda: client.get(f"{run.gateway}/v1/alerts"), seconds),
        }
        figures["body_mb_s"] = {"direct": await _body(client, sink), "passed_on": await _body(client, run.gateway)}
        return figures


class _Run:
    """A run's addresses, and the gateway's process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.gateway, self.drift = self._rest("gateway"), self._rest("drift")
        self.url = f"{self.gateway}/v1/pipelines/rides"
        self.process = psutil.Process(next(one.pid for one in read_endpoints(folder) if one.role == "gateway"))

    def _rest(self, role: str) -> str:
        return find(self._folder, role, "rest")[0]


@asynccontextmanager
async def _run(folder: Path, role_urls: dict[str, str]) -> AsyncIterator[_Run]:
    """`headrace up` and a replay at a steady rate, until every role is ready and predictions are made."""
    where = folder / "run"
    with (folder / "up.log").open("w") as log:
        up = _start("up", str(PIPELINE), "--plain", "--run-dir", str(where), out=log, more=_as_setting(role_urls))
    started = [up]
    try:
        await _until(lambda: all(find(where, role, "rest") for role in ("gateway", "drift")))
        run = _Run(where)
        kafka = {"KAFKA_BOOTSTRAP_SERVERS": read_status(where / "platform").address("kafka")}
        started.append(_start("produce", str(PIPELINE), "--rate", str(RATE), out=subprocess.DEVNULL, more=kafka))
        async with httpx.AsyncClient(timeout=60.0) as client:
            await _until_ready(client, run)
        yield run
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGINT)
            process.wait()


def _start(*arguments: str, out: Any, more: dict[str, str]) -> "subprocess.Popen[bytes]":
    argv = [sys.executable, "-m", "headrace", *arguments]
    return subprocess.Popen(argv, stdout=out, stderr=out, env={**os.environ, **more})


def _as_setting(role_urls: dict[str, str]) -> dict[str, str]:
    return {"HEADRACE_ROLE_URLS": json.dumps(role_urls)}


async def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + _START_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the run did not start in time")
        await asyncio.sleep(0.2)


async def _until_ready(client: httpx.AsyncClient, run: _Run) -> None:
    """Until the monitor has seen a thousand predictions, so that sections have something to say."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        status = (await client.get(f"{run.gateway}/v1/status")).json()
        if status["ready"] and (status["monitor"] or {}).get("counts", {}).get("predictions", 0) > 1000:
            return
        await asyncio.sleep(0.5)
    raise TimeoutError("the run was not ready in time")


@asynccontextmanager
async def _sink() -> AsyncIterator[str]:
    """A server that reads a body and answers: what is left is the way to it."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                left = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                while left:
                    left -= len(await reader.read(min(left, 1 << 20)))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0, limit=1 << 20)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _follow(address: str, sections: str, heard: list[int]) -> None:
    """A page: reads what it is sent."""
    to = urlsplit(address)
    reader, writer = await asyncio.open_connection(to.hostname, to.port)
    try:
        writer.write(f"GET /v1/live?sections={sections} HTTP/1.1\r\nHost: page\r\n\r\n".encode())
        while read := await reader.read(1 << 16):
            heard[0] += len(read)
    finally:
        writer.close()


@asynccontextmanager
async def _pages(run: _Run, sections: str, number: int) -> AsyncIterator[list[int]]:
    """So many open pages; the bytes that they were sent."""
    heard = [0]
    tasks = [asyncio.create_task(_follow(run.gateway, sections, heard)) for _ in range(number)]
    await asyncio.sleep(2.0)
    try:
        yield heard
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _share(run: _Run, sections: str, number: int, seconds: float) -> dict[str, float]:
    """The gateway's share of a core, and what it sends a page a second."""
    async with _pages(run, sections, number) as heard:
        used, began, sent = _used(run), time.monotonic(), heard[0]
        await asyncio.sleep(seconds)
        passed = time.monotonic() - began
        kib = (heard[0] - sent) / 1024 / passed / max(1, number)
        return {"share": round((_used(run) - used) / passed, 4), "kib_s_a_page": round(kib, 1)}


def _used(run: _Run) -> float:
    times = run.process.cpu_times()
    return float(times.user + times.system)


async def _rate(ask: Callable[[], Awaitable[httpx.Response]], seconds: float) -> dict[str, float]:
    """Requests a second at `IN_FLIGHT` in flight, and the times of one in ms."""
    took: list[float] = []
    until = time.monotonic() + seconds

    async def again() -> None:
        while time.monotonic() < until:
            began = time.perf_counter()
            (await ask()).raise_for_status()
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(again() for _ in range(IN_FLIGHT)))
    took.sort()
    p99 = took[min(len(took) - 1, int(0.99 * len(took)))]
    return {
        "per_s": round(len(took) / seconds, 1), "p50_ms": round(median(took) * 1e3, 2), "p99_ms": round(p99 * 1e3, 2)
    }  # fmt: skip


async def _beside(
    run: _Run, ask: Callable[[], Awaitable[httpx.Response]], seconds: float
) -> dict[str, dict[str, float]]:
    """Rates without and with pages, in turns, of which the medians count."""
    found: dict[str, list[dict[str, float]]] = {"0": [], str(PAGES): []}
    for _ in range(3):
        for number in (0, PAGES):
            async with _pages(run, VIEWS["now"], number):
                found[str(number)].append(await _rate(ask, seconds / 2))
    return {n: {name: median(one[name] for one in runs) for name in runs[0]} for n, runs in found.items()}


async def _body(client: httpx.AsyncClient, address: str) -> float:
    """MB a second of a large body."""

    async def parts() -> AsyncIterator[bytes]:
        part = b"x" * (1 << 18)
        for _ in range(BODY // len(part)):
            yield part

    rates = []
    for _ in range(3):
        began = time.perf_counter()
        headers = {"Content-Length": str(BODY)}
        (await client.post(f"{address}/v1/batch/jobs", content=parts(), headers=headers)).raise_for_status()
        rates.append(BODY / 1e6 / (time.perf_counter() - began))
    return round(median(rates), 1)


if __name__ == "__main__":
    sys.exit(main())
