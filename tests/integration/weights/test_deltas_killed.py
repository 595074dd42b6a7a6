"""An agent that is killed while it builds a version by deltas, with a real Redis and shared storage.

Its successor goes on.
"""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from headrace.weights import FallbackStore, VersionFacts, publish_version
from headrace.weights.publish.lineage import Lineage
from headrace.weights.stores.redis import RedisChunkStore
from headrace.weights.stores.shared_storage import SharedStorageChunkStore
from services.ckpt.agent.pulling.slots import HostSlots
from tests.patience import WAIT_S
from tests.slot_kit import map_tensors

ROWS, CHUNK = 4_000, 1 << 16
LAST = 4
BUILT = 80
"""Asked so often, it is done: a copy and a digest of each of 16 chunks, and the links."""


def rows(version):
    weight = torch.arange(ROWS * 64.0).reshape(ROWS, 64)
    for n in range(2, version + 1):
        weight[n::100] += n
    return weight


@pytest.mark.parametrize(
    ("steps", "begins_with"), [(0, 2), (1, 2), (9, 2), (19, 2), (25, 2), (BUILT, 2), (25, 0), (45, 0)]
)
def test_the_successor_of_an_agent_that_was_killed_while_it_built_a_version_has_it_bit_for_bit(
    tmp_path, redis_url, unique, steps, begins_with
):
    """Before the first byte, between copies, between links, while verifying, after it.

    From version 2, and from nothing.
    """
    redis, shared, model = RedisChunkStore(redis_url), SharedStorageChunkStore(tmp_path / "storage"), unique("model")
    store, lineage, files = FallbackStore(redis, shared), Lineage(least=0), []
    versions = [
        publish_version(
            {"rows": rows(n)},
            VersionFacts(model=model, version=n, base_version=n - 1, epoch=1, step=1),
            store=store,
            chunk_size=CHUNK,
            lineage=lineage,
        )
        for n in range(1, LAST + 1)
    ]
    assert [len(version.delta.links) if version.delta else 0 for version in versions] == [0, 1, 2, 3]
    for manifest in [*versions[:begins_with], versions[-1]]:
        files.append(tmp_path / f"{manifest.version}.json")
        files[-1].write_bytes(manifest.encode())
    script = Path(__file__).with_name("dying_puller.py")
    arguments = [tmp_path, redis_url, tmp_path / "storage", steps, *files]
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)], stdout=subprocess.PIPE, check=False, timeout=WAIT_S
    )
    assert done.returncode == -signal.SIGKILL
    assert (b"whole" in done.stdout) == (steps == BUILT)

    heir = HostSlots(store, "dying", limit=3, parallel=1, root=tmp_path)
    path, pulled = heir.fill(versions[-1], {version.digest for version in versions[:begins_with]}, lambda: False)
    assert torch.equal(map_tensors(path, versions[-1], versions[-1].digest)["rows"], rows(LAST))
    links = [link.size for link in versions[-1].delta.links]
    most = sum(links[1:]) if begins_with else versions[0].size + sum(links) - CHUNK
    assert pulled.bytes_pulled <= (0 if steps == BUILT else most)
    heir.close()
    store.close()
