"""From Redis to shared memory: the agent's pull beside a raw read of the same bytes, in turn."""

import mmap
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

import torch

from benchmarks.weights.report import Part, table
from headrace.weights import Manifest, VersionFacts, publish_version
from headrace.weights.format.chunks import spans
from headrace.weights.format.parallel import PARALLEL
from headrace.weights.host.slots import SHM_ROOT
from headrace.weights.stores.redis import RedisChunkStore
from services.ckpt.agent.pulling.slots import HostSlots

MODEL = "bench-transfer"


@dataclass(frozen=True)
class Transfer:
    """One size; GB/s are medians over the rounds."""

    size: int
    ours: float
    raw_one: float
    """One connection, requests pipelined."""
    raw_parallel: float
    """As many connections as the agent has."""
    ratio: float
    """Ours over the raw read that is faster at this size: the median of the rounds' ratios."""


def transfer(redis_url: str, size: int, rounds: int) -> Transfer:
    """Move `size` bytes in each way, `rounds` times, after one that is not counted."""
    store = RedisChunkStore(redis_url)
    versions = [_version(store, number, size) for number in (1, 2)]  # no chunk in common: all of it travels each time
    raw_one, raw_parallel = _Raw(redis_url, versions[0].size, 1), _Raw(redis_url, versions[0].size, PARALLEL)
    slots = HostSlots(store, f"bench-{os.getpid()}", limit=3, parallel=PARALLEL, root=SHM_ROOT)

    def ours(manifest: Manifest) -> None:
        _, pulled = slots.fill(manifest, set(), lambda: False)
        if pulled.bytes_pulled != manifest.size:
            raise RuntimeError(f"{pulled.bytes_reused} bytes did not travel")

    taken: list[tuple[float, float, float]] = []
    try:
        for n in range(rounds + 1):
            manifest = versions[n % 2]
            taken.append((_rate(ours, manifest), _rate(raw_one.read, manifest), _rate(raw_parallel.read, manifest)))
    finally:
        slots.close()
        raw_one.close()
        raw_parallel.close()
        store.sweep(MODEL, (), 0.0)
        store.close()
    mine, one, parallel = zip(*taken[1:], strict=True)
    medians = [statistics.median(column) for column in (mine, one, parallel)]
    faster = one if medians[1] > medians[2] else parallel
    ratio = statistics.median(a / b for a, b in zip(mine, faster, strict=True))
    return Transfer(size, medians[0], medians[1], medians[2], ratio)


def part(transfers: dict[str, Transfer]) -> Part:
    """A table and figures, by the transfers' names; the ratio is of the last."""
    made = table(
        "Redis to shared memory touched before, GB/s",
        "", "agent's pull, verified", "raw, 1 connection", "raw, parallel", "ratio to the faster",
    )  # fmt: skip
    for name, of in transfers.items():
        made.add_row(name, f"{of.ours:.2f}", f"{of.raw_one:.2f}", f"{of.raw_parallel:.2f}", f"{of.ratio:.2f}")
    ratios = {f"raw_store_read {name}": of.ratio for name, of in transfers.items()}
    ratios["raw_store_read"] = list(transfers.values())[-1].ratio
    return Part({"transfers": {name: asdict(of) for name, of in transfers.items()}}, ratios, [made])


def _version(store: RedisChunkStore, number: int, size: int) -> Manifest:
    weight = torch.empty(size // 4).uniform_(generator=torch.Generator().manual_seed(number))
    return publish_version(
        {"weight": weight},
        VersionFacts(model=MODEL, version=number, base_version=number - 1, epoch=1, step=1),
        store=store,
    )


def _rate(move: Callable[[Manifest], None], manifest: Manifest) -> float:
    started = time.perf_counter()
    move(manifest)
    return manifest.size / (time.perf_counter() - started) / 1e9


class _Raw:
    """GET after GET, from plain sockets straight into shared memory touched before; nothing is checked."""

    def __init__(self, url: str, size: int, connections: int) -> None:
        where = urlsplit(url)
        self._sockets = [socket.create_connection((where.hostname, where.port)) for _ in range(connections)]
        with tempfile.NamedTemporaryFile(dir=SHM_ROOT, prefix="headrace-bench-") as file:
            os.posix_fallocate(file.fileno(), 0, size)
            self._map = mmap.mmap(file.fileno(), size)
        self._buffer = memoryview(self._map)
        self._pool = ThreadPoolExecutor(connections)

    def read(self, manifest: Manifest) -> None:
        """Read every chunk of a version."""
        tasks = list(zip(manifest.chunks, spans(manifest.size, manifest.chunk_size), strict=True))
        shares = [tasks[i :: len(self._sockets)] for i in range(len(self._sockets))]
        list(self._pool.map(self._share, self._sockets, shares))

    def _share(self, sock: socket.socket, share: list[tuple[str, tuple[int, int]]]) -> None:
        keys = [f"headrace:{{{MODEL}}}:{digest}".encode() for digest, _ in share]
        sock.sendall(b"".join(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(key), key) for key in keys))
        for _, (begin, end) in share:
            head = sock.recv(32, socket.MSG_PEEK)
            line = sock.recv(head.index(b"\n") + 1)
            if int(line[1:]) != end - begin:
                raise RuntimeError(f"{line!r} instead of {end - begin} bytes")
            filled = begin
            while filled < end:
                filled += sock.recv_into(self._buffer[filled:end])
            sock.recv(2, socket.MSG_WAITALL)

    def close(self) -> None:
        """Close the sockets and unmap."""
        self._pool.shutdown()
        for sock in self._sockets:
            sock.close()
        self._buffer.release()
        self._map.close()
