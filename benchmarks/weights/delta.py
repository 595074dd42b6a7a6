"""A version of which 1 % of the rows changed: as a delta, beside the same version in full, in turn."""

import os
import statistics
import time
from dataclasses import asdict, dataclass

import torch

from benchmarks.weights.report import Part, table
from headrace.weights import VersionFacts, publish_version
from headrace.weights.format.parallel import PARALLEL
from headrace.weights.host.slots import SHM_ROOT
from headrace.weights.publish.lineage import Lineage
from headrace.weights.stores.redis import RedisChunkStore
from services.ckpt.agent.pulling.slots import HostSlots

WIDTH = 64
CHANGED = 0.01


@dataclass(frozen=True)
class Deltas:
    """Medians over the versions.

    Ms are of publishing into Redis, and of pulling from there into shared memory, verified.
    """

    size: int
    rows: int
    share: float
    """Bytes that travelled of a delta, over the payload's."""
    publish_ms: float
    publish_full_ms: float
    pull_ms: float
    pull_full_ms: float


class _Way:
    """A trainer and a host: publishes and pulls, with deltas or without."""

    def __init__(self, store: RedisChunkStore, name: str, lineage: Lineage | None) -> None:
        self.publish_s: list[float] = []
        self.pull_s: list[float] = []
        self.shares: list[float] = []
        self._store, self._model, self._lineage = store, f"bench-{name}", lineage
        self._slots = HostSlots(store, f"bench-{name}-{os.getpid()}", limit=3, parallel=PARALLEL, root=SHM_ROOT)
        self._kept: list[str] = []

    def take(self, version: int, weight: torch.Tensor) -> None:
        """Publish a version, and pull it."""
        begun = time.perf_counter()
        manifest = publish_version(
            {"rows.weight": weight},
            VersionFacts(model=self._model, version=version, base_version=version - 1, epoch=1, step=version),
            store=self._store,
            lineage=self._lineage,
        )
        published = time.perf_counter()
        _, pulled = self._slots.fill(manifest, set(self._kept), lambda: False)
        self.publish_s.append(published - begun)
        self.pull_s.append(time.perf_counter() - published)
        self.shares.append(pulled.bytes_pulled / manifest.size)
        self._kept = [*self._kept, manifest.digest][-2:]
        self._store.sweep(self._model, manifest.references, -1.0)

    def close(self) -> None:
        """Leave nothing behind."""
        self._slots.close()
        self._store.sweep(self._model, (), -1.0)


def deltas(redis_url: str, rows: int, versions: int) -> Deltas:
    """Take so many versions of an embedding of `rows` rows of 64 floats both ways, after three that touch all slots."""
    store = RedisChunkStore(redis_url)
    delta, full = _Way(store, "delta", Lineage()), _Way(store, "full", None)
    random = torch.Generator().manual_seed(1)
    weight = torch.rand(rows, WIDTH, generator=random)
    try:
        for version in range(1, versions + 4):
            delta.take(version, weight)
            full.take(version, weight)
            weight[torch.randperm(rows, generator=random)[: int(rows * CHANGED)]] += 1e-3
    finally:
        delta.close()
        full.close()
        store.close()
    columns = (delta.shares, delta.publish_s, full.publish_s, delta.pull_s, full.pull_s)
    share, *seconds = (statistics.median(column[3:]) for column in columns)
    return Deltas(rows * WIDTH * 4, rows, share, *(1000 * s for s in seconds))


def part(of: Deltas) -> Part:
    """A table, and the share of the bytes that a delta had to move."""
    made = table(
        f"1 % of {of.rows:,} rows changed, {of.size / 1e6:.0f} MB: ms",
        "",
        "bytes that travel",
        "publish",
        "pull, build and verify",
    )
    made.add_row("as a delta", f"{of.share:.2%}", f"{of.publish_ms:.0f}", f"{of.pull_ms:.0f}")
    made.add_row("in full", "100 %", f"{of.publish_full_ms:.0f}", f"{of.pull_full_ms:.0f}")
    return Part({"delta": asdict(of)}, {"delta_bytes": of.share}, [made])
