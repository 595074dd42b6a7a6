"""The role `rpc` without keys and with them, and certificates that change while it answers over TLS."""

import asyncio
import itertools
import os
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import torch
import uvloop
from safetensors.torch import save_file

from benchmarks.serving.contestants import LOGS, TASK
from benchmarks.serving.load.drive import Drive
from benchmarks.serving.load.plan import Outcome, Plan
from benchmarks.serving.requests import Requests, make_requests
from benchmarks.serving.servers import Address, Server, launch, wait_until
from headrace.contracts.access import Scope
from headrace.launch.readiness import answers_ready
from headrace.model.pipeline import load_pipeline
from headrace.platform import LocalPlatform
from headrace.runtime.access.key_topic import write_key
from headrace.runtime.access.keys import make_key
from headrace.runtime.endpoints import find
from headrace.runtime.settings import ServiceSettings
from headrace.security.certificates import Authority, Pair

IN_FLIGHT = 16
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass
class Swapped:
    """What happened while certificates changed."""

    answered: int = 0
    failed: int = 0
    first_failure: str = ""
    certificates: set[str] = field(default_factory=set)
    """Serial numbers of those that were seen."""


@dataclass
class Found:
    """Requests a second of each round, and what happened while certificates changed."""

    plain: list[float]
    with_keys: list[float]
    swapped: Swapped


def measure(seconds: float, rounds: int, say: Callable[[str], None]) -> Found:
    """Both servers are up; each is asked in turn, and the other idles."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name, LocalPlatform(Path(name), env={}) as platform:
        folder, servers = Path(name), platform.endpoints.kafka_bootstrap_servers
        settings = ServiceSettings(kafka_bootstrap_servers=servers, instance="bench")
        key, record = make_key("bench", (Scope.PREDICT, Scope.READ))
        write_key(settings, record)
        torch.manual_seed(0)
        network = load_pipeline(TASK).model.network().eval()
        save_file(network.state_dict(), folder / "weights.safetensors")
        requests = make_requests("json", network, 1)
        found = Found([], [], Swapped())
        with _rpc(folder / "open", servers, {}) as one, _rpc(folder / "keys", servers, _asking()) as other:
            for number in range(rounds):
                found.plain.append(_rate(one, requests, "", seconds))
                found.with_keys.append(_rate(other, requests, key, seconds))
                say(f"round {number + 1}: open {found.plain[-1]:,.0f}/s, with keys {found.with_keys[-1]:,.0f}/s")
        found.swapped = _swap(folder, servers, requests, seconds=max(10.0, seconds))
    return found


def _asking() -> dict[str, str]:
    return {"HEADRACE_AUTH": "required"}


@contextmanager
def _rpc(run_dir: Path, servers: str, env: dict[str, str], *flags: str) -> Iterator[Server]:
    run_dir.mkdir()
    LOGS.mkdir(parents=True, exist_ok=True)
    line = [sys.executable, "-m", "services.inference.rpc", f"--pipeline={TASK}", f"--run-dir={run_dir}", "--workers=1"]
    line += [f"--weights={run_dir.parent / 'weights.safetensors'}", f"--kafka-bootstrap-servers={servers}"]
    line += ["--log-level=warning", *flags]
    server = launch(line, LOGS / f"secure-rpc-{run_dir.name}.log", {**os.environ, **_ONE_THREAD, **env})
    try:
        wait_until(server, lambda: _ready(run_dir), "the role rpc")
        server.address = Address(rest=urlsplit(find(run_dir, "rpc", "rest")[0]).port or 0)
        yield server
    finally:
        server.stop()


def _ready(run_dir: Path) -> bool:
    """Whether the role answers, which needs no key."""
    return any(answers_ready(ops)[0] for ops in find(run_dir, "rpc", "ops"))


def _rate(server: Server, requests: Requests, key: str, seconds: float) -> float:
    bodies = [_with_key(body, key) for body in requests.bodies] if key else requests.bodies
    plan = Plan(
        "127.0.0.1", server.address.rest, "json", "", bodies, requests.answers, IN_FLIGHT, IN_FLIGHT, 1.0, seconds
    )  # fmt: skip
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(_drive(plan))
    if outcome.failures:
        raise RuntimeError(f"{outcome.failures} requests failed: {outcome.first_failure}")
    return outcome.answered / seconds


async def _drive(plan: Plan) -> Outcome:
    driven = Drive(plan)
    await driven.connect()
    return await driven.run(time.monotonic())


def _with_key(request: bytes, key: str) -> bytes:
    line, _, rest = request.partition(b"\r\n")
    return line + b"\r\nAuthorization: Bearer " + key.encode() + b"\r\n" + rest


def _swap(folder: Path, servers: str, requests: Requests, seconds: float) -> Swapped:
    """Ask over new connections while the certificate is replaced every second."""
    authority = Authority(folder / "authority")
    pairs = [authority.pair(f"server-{n}") for n in range(8)]
    used = pairs[0]
    flags = (f"--tls-cert={used.certificate}", f"--tls-key={used.key}")
    with _rpc(folder / "tls", servers, {}, *flags) as server:
        trusted = ssl.create_default_context(cafile=authority.file)
        return asyncio.run(_ask_while_swapping(server.address.rest, requests.bodies, trusted, pairs, seconds))


async def _ask_while_swapping(
    port: int, requests: Sequence[bytes], trusted: ssl.SSLContext, pairs: Sequence[Pair], seconds: float
) -> Swapped:
    found, until = Swapped(), time.monotonic() + seconds

    async def ask(number: int) -> None:
        while time.monotonic() < until:
            try:
                status = await _once(port, requests[number % len(requests)], trusted, found.certificates)
            except (OSError, ValueError, asyncio.IncompleteReadError) as error:
                status = repr(error)
            if status == "200":
                found.answered += 1
            else:
                found.failed += 1
                found.first_failure = found.first_failure or status

    async def swap() -> None:
        used, others = pairs[0], itertools.cycle(pairs[1:])
        while time.monotonic() < until:
            await asyncio.sleep(1.0)
            new = next(others)
            for file, other in ((used.key, new.key), (used.certificate, new.certificate)):
                part = file.with_suffix(".part")
                part.write_bytes(other.read_bytes())
                part.replace(file)

    await asyncio.gather(swap(), *(ask(number) for number in range(8)))
    return found


async def _once(port: int, request: bytes, trusted: ssl.SSLContext, seen: set[str]) -> str:
    """The status of one request over a connection of its own; notes the server's certificate."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusted)
    try:
        certificate = writer.get_extra_info("peercert") or {}
        seen.add(str(certificate.get("serialNumber")))
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        return head.split(b" ", 2)[1].decode()
    finally:
        writer.close()
