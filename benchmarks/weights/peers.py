"""A fleet's rollouts from a store with a bandwidth: with every agent pulling for itself, and with agents that share.

Coordinator and agents are processes; the store is the run's Redis behind a token-bucket proxy (`throttle`). The workers
are stand-ins that acknowledge and map nothing: what is measured is from a checkpoint's event until the last agent has
the version whole, verified, and offers it.

    python -m benchmarks.weights.peers     this part by itself, on the terminal only
"""

import contextlib
import os
import queue
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.weights.report import Part, table
from benchmarks.weights.throttle import Throttle
from headrace.contracts.topics import CHECKPOINTS, model_partition, system_topics
from headrace.platform import LocalPlatform
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings
from headrace.weights import Manifest, VersionFacts, agent_socket, checkpoint_event, publish_version
from headrace.weights.stores.redis import RedisChunkStore
from headrace.weights.worker.wire import Activate, Active, Hello, Stage, Staged, frame, receive

MODEL = "bench-peers"
SIZES = (8, 4, 2, 1)
PAYLOAD, BANDWIDTH, ROUNDS = 32_000_000, 100e6, 3
_PATIENCE_S = 60.0
_HEARD_S = 1.5
"""More than a heartbeat: the coordinator knows who is there."""
_TOUCHED = 3
"""Versions until every slot that an agent uses was touched."""


@dataclass(frozen=True)
class FleetTime:
    """Rollouts to so many agents: medians."""

    agents: int
    alone_s: float
    """Every agent pulls for itself."""
    peers_s: float
    gain: float
    alone_reads: float
    """Bytes that the store gave, over the payload's."""
    peers_reads: float


class _StandIn:
    """A worker as far as its agent can tell."""

    def __init__(self, path: Path, name: str, schema_hash: str, staged: "queue.Queue[tuple[int, float]]") -> None:
        self._sock = _connect(path)
        self._staged = staged
        self._sock.sendall(frame(Hello(name, "bench", MODEL, schema_hash, os.getpid())))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # either end may be closed while a version is offered
            self._answer()

    def _answer(self) -> None:
        while (message := receive(self._sock)) is not None:
            if isinstance(message, Stage):
                self._staged.put((message.version, time.time()))
                self._sock.sendall(frame(Staged(message.version, message.digest, {})))
            elif isinstance(message, Activate):
                self._sock.sendall(frame(Active(message.version, message.digest, {})))

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(_PATIENCE_S)
        self._sock.close()


class _Trainer:
    """Publishes versions of which every byte is new, past the proxy."""

    def __init__(self, settings: ServiceSettings, size: int) -> None:
        self._store = RedisChunkStore(settings.redis_url)
        self._producer = kafka.producer(settings, **{"linger.ms": 0})
        self._size = size
        self._kept: list[Manifest] = []

    def prepare(self) -> Manifest:
        """The next version's chunks."""
        number = self._kept[-1].version + 1 if self._kept else 1
        weight = torch.empty(self._size // 4).uniform_(generator=torch.Generator().manual_seed(number))
        manifest = publish_version(
            {"weight": weight},
            VersionFacts(model=MODEL, version=number, base_version=number - 1, epoch=1, step=number),
            store=self._store,
        )
        self._kept = [*self._kept[-2:], manifest]
        self._store.sweep(MODEL, {chunk for kept in self._kept for chunk in kept.chunks}, 0.0)
        return manifest

    def announce(self, manifest: Manifest) -> None:
        """Its event."""
        self._producer.produce(
            CHECKPOINTS.name(), checkpoint_event(manifest).SerializeToString(), MODEL, model_partition(MODEL)
        )
        self._producer.flush()

    def close(self) -> None:
        """Leave nothing in the store."""
        self._store.sweep(MODEL, (), 0.0)
        self._store.close()


def peers(
    settings: ServiceSettings, size: int = PAYLOAD, bytes_per_s: float = BANDWIDTH, rounds: int = ROUNDS
) -> list[FleetTime]:
    """Roll out `rounds` versions of `size` bytes to fleets of 8, 4, 2 and 1 agents, in both ways."""
    kafka.ensure_topics(settings, system_topics())
    pipe = Throttle(settings.redis_url, bytes_per_s)
    trainer = _Trainer(settings, size)
    try:
        with _agents(settings, pipe.url, max(SIZES)) as sockets:
            alone = _measure(settings, trainer, pipe, sockets, rounds=rounds, flags=["--peer-fan-out", "0"])
            shared = _measure(settings, trainer, pipe, sockets, rounds=rounds, flags=["--peer-min-bytes", "1"])
    finally:
        trainer.close()
        pipe.close()
    return [
        FleetTime(n, alone[n][0], shared[n][0], alone[n][0] / shared[n][0], alone[n][1], shared[n][1])
        for n in reversed(SIZES)
    ]


def _measure(
    settings: ServiceSettings, trainer: _Trainer, pipe: Throttle, sockets: list[Path], *, rounds: int, flags: list[str]
) -> dict[int, tuple[float, float]]:
    """By fleet size: the median of seconds, and of the store's bytes over the payload's."""
    found: dict[int, tuple[float, float]] = {}
    staged: queue.Queue[tuple[int, float]] = queue.Queue()
    first = trainer.prepare()
    with ExitStack() as stack:
        _process(stack, settings, "coordinator", flags, store_url=settings.redis_url, folder=settings.run_folder)
        fleet = [_StandIn(path, f"w{n}", first.schema_hash, staged) for n, path in enumerate(sockets)]
        trainer.announce(first)
        _all_staged(staged, first.version, len(fleet))
        skipped = _TOUCHED - 1
        for agents in SIZES:
            for left in fleet[agents:]:
                left.close()
            fleet = fleet[:agents]
            time.sleep(_HEARD_S)
            taken = [_round(trainer, pipe, staged, agents) for _ in range(skipped + rounds)][skipped:]
            seconds, read = zip(*taken, strict=True)
            found[agents] = statistics.median(seconds), statistics.median(read)
            skipped = 0
        for left in fleet:
            left.close()
    return found


def _round(
    trainer: _Trainer, pipe: Throttle, staged: "queue.Queue[tuple[int, float]]", agents: int
) -> tuple[float, float]:
    manifest = trainer.prepare()
    before, begun = pipe.passed, time.time()
    trainer.announce(manifest)
    end = _all_staged(staged, manifest.version, agents)
    return end - begun, (pipe.passed - before) / manifest.size


def _all_staged(staged: "queue.Queue[tuple[int, float]]", version: int, count: int) -> float:
    """When the last of them was offered a version."""
    at: list[float] = []
    while len(at) < count:
        number, when = staged.get(timeout=_PATIENCE_S)
        if number == version:
            at.append(when)
    return max(at)


@contextmanager
def _agents(settings: ServiceSettings, store_url: str, count: int) -> Iterator[list[Path]]:
    """Agents with a folder each, as on hosts of their own; yields their sockets."""
    with ExitStack() as stack:
        folders = [settings.run_folder / f"host-{n}" for n in range(count)]
        for n, folder in enumerate(folders):
            folder.mkdir()
            _process(stack, settings, "agent", ["--instance", f"agent-{n}"], store_url=store_url, folder=folder)
        yield [agent_socket(settings.model_copy(update={"run_dir": folder})) for folder in folders]


def _process(
    stack: ExitStack, settings: ServiceSettings, role: str, flags: list[str], *, store_url: str, folder: Path
) -> None:
    env = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "REDIS_URL": store_url,
        "HEADRACE_RUN_DIR": str(folder),
        "HEADRACE_STORAGE_DIR": str(settings.storage_folder),
        "HEADRACE_LOG_LEVEL": "warning",
    }
    log = stack.enter_context((folder / f"peers-{role}.log").open("ab"))
    process = subprocess.Popen([sys.executable, "-m", f"services.ckpt.{role}", *flags], env=env, stdout=log, stderr=log)
    stack.callback(_stop, process)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _connect(path: Path) -> socket.socket:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(str(path))
        except OSError:
            sock.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return sock


def part(fleets: list[FleetTime]) -> Part:
    """A table, and what sharing gained by the number of agents."""
    made = table(
        f"{PAYLOAD / 1e6:.0f} MB to every agent, the store at {BANDWIDTH / 1e6:.0f} MB/s: event to all staged",
        "", "each alone, ms", "with peers, ms", "gain", "store reads alone", "with peers",
    )  # fmt: skip
    for of in fleets:
        took = f"{of.alone_s * 1000:.0f}", f"{of.peers_s * 1000:.0f}"
        reads = f"{of.alone_reads:.2f}", f"{of.peers_reads:.2f}"
        made.add_row(f"{of.agents} agents", *took, f"{of.gain:.2f}", *reads)
    return Part(
        {"fleets": [asdict(of) for of in fleets]}, {f"peers_gain_{of.agents}": of.gain for of in fleets}, [made]
    )


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, LocalPlatform(Path(folder), env={}) as platform:
        settings = ServiceSettings(
            kafka_bootstrap_servers=platform.endpoints.kafka_bootstrap_servers,
            redis_url=platform.endpoints.redis_url,
            run_dir=Path(folder),
            storage_dir=Path(folder) / "storage",
        ).for_role("bench")
        Console(highlight=False).print(*part(peers(settings)).tables)
    return 0


if __name__ == "__main__":
    sys.exit(main())
