"""Versions built by deltas in a host's slots: beside what workers map, in place where nobody does, over restarts."""

import os

import pytest
import torch

from headrace.weights import MemoryChunkStore, VersionFacts, publish_version
from headrace.weights.errors import Superseded
from headrace.weights.publish.lineage import Lineage
from services.ckpt.agent.pulling.slots import HostSlots
from tests.slot_kit import map_tensors

CHUNK, ROWS = 1024, 500
NEVER = bool  # called without arguments: False


def state(version):
    """Five rows of 500 change with every version."""
    rows = torch.arange(ROWS * 16.0).reshape(ROWS, 16)
    for n in range(2, version + 1):
        rows[n :: ROWS // 5] = float(n)
    return rows


@pytest.fixture
def store():
    return MemoryChunkStore()


@pytest.fixture
def versions(store):
    lineage = Lineage(least=0)
    return [
        publish_version(
            {"rows": state(n)},
            VersionFacts(model="m", version=n, base_version=n - 1, epoch=1, step=1),
            store=store,
            chunk_size=CHUNK,
            lineage=lineage,
        )
        for n in range(1, 7)
    ]


def open_slots(tmp_path, store, limit=4):
    return HostSlots(store, "test", limit=limit, parallel=2, root=tmp_path)


@pytest.fixture
def slots(tmp_path, store):
    made = open_slots(tmp_path, store)
    yield made
    made.close()


def rows(path, manifest):
    return map_tensors(path, manifest, manifest.digest)["rows"]


def test_each_version_is_built_from_the_one_that_serves(slots, versions):
    """Workers map the one before: it never changes under them, and only rows travel."""
    keep, mapped = [], []
    for n, manifest in enumerate(versions, 1):
        path, pulled = slots.fill(manifest, {m.digest for m in keep}, NEVER)
        mapped = [*mapped, (n, rows(path, manifest))][-2:]
        keep = [*keep, manifest][-2:]
        assert all(torch.equal(tensor, state(version)) for version, tensor in mapped)
        assert pulled.bytes_pulled == (manifest.delta.links[-1].size if manifest.delta else manifest.size)
        assert pulled.bytes_pulled + pulled.bytes_reused == manifest.size
    assert [bool(manifest.delta) for manifest in versions] == [False, *[True] * 5]


def test_versions_that_were_skipped_are_caught_up_with(slots, versions):
    """By all links since, and from the slot that is nearest."""
    slots.fill(versions[0], set(), NEVER)
    slots.fill(versions[2], {versions[0].digest}, NEVER)
    path, pulled = slots.fill(versions[5], {versions[0].digest, versions[2].digest}, NEVER)
    assert torch.equal(rows(path, versions[5]), state(6))
    assert pulled.bytes_pulled == sum(link.size for link in versions[5].delta.links[2:])


def test_with_one_slot_a_version_is_built_where_the_one_before_was(tmp_path, store, versions):
    """Nobody maps or keeps it."""
    slots = open_slots(tmp_path, store, limit=1)
    slots.fill(versions[0], set(), NEVER)
    path, pulled = slots.fill(versions[1], set(), NEVER)
    assert torch.equal(rows(path, versions[1]), state(2))
    assert pulled.bytes_pulled == versions[1].delta.size
    slots.close()


def test_the_slot_that_a_version_can_be_built_from_is_not_the_one_that_is_overwritten(slots, versions):
    """Nobody keeps either: the older one goes, which is of no use."""
    other = publish_version(
        {"rows": torch.zeros(ROWS, 16)},
        VersionFacts(model="m", version=9, base_version=8, epoch=1, step=1),
        store=slots._store,
        chunk_size=CHUNK,
    )
    base, _ = slots.fill(versions[1], {other.digest}, NEVER)
    stray, _ = slots.fill(other, {versions[1].digest}, NEVER)
    path, pulled = slots.fill(versions[2], set(), NEVER)
    assert base != stray == path
    assert pulled.bytes_pulled == versions[2].delta.links[-1].size


def test_a_slot_that_held_a_larger_payload_is_built_in_and_built_upon(tmp_path, store):
    """What it held beyond the new payload's end is forgotten: of a model that became smaller, deltas work as before."""
    slots, lineage = open_slots(tmp_path, store, limit=2), Lineage(least=0)
    larger = torch.cat([state(1), state(1)])
    weights, kept = [larger, larger + 1, state(1), state(2), state(3)], set()
    for n, weight in enumerate(weights, 1):
        manifest = publish_version(
            {"rows": weight},
            VersionFacts(model="m", version=n, base_version=n - 1, epoch=1, step=1),
            store=store,
            chunk_size=CHUNK,
            lineage=lineage,
        )
        path, pulled = slots.fill(manifest, kept, NEVER)
        kept = {manifest.digest}
        assert torch.equal(rows(path, manifest), weight)
        assert bool(manifest.delta) == (n > 3)
        assert not manifest.delta or pulled.bytes_pulled == manifest.delta.links[-1].size
    slots.close()


def test_a_successor_builds_on_the_slots_of_the_agent_before(tmp_path, store, versions):
    """It was killed while it built version 3 beside 2: half of it is there."""
    dead = open_slots(tmp_path, store)
    dead.fill(versions[1], set(), NEVER)
    asked = iter([False] * 30)
    with pytest.raises(Superseded):
        dead.fill(versions[2], {versions[1].digest}, lambda: next(asked, True))
    (pool,) = dead._pools.values()
    for slot in pool._slots:
        slot.close()
    os.close(pool._owner)
    heir = open_slots(tmp_path, store)
    path, pulled = heir.fill(versions[2], {versions[1].digest}, NEVER)
    assert torch.equal(rows(path, versions[2]), state(3))
    assert pulled.bytes_pulled == versions[2].delta.links[-1].size
    heir.close()
