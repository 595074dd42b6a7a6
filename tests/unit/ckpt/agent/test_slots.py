"""What a host has already does not travel again: versions into slots, from a store and from the slots beside."""

import os

import pytest
import torch

from headrace.weights import MemoryChunkStore, VersionFacts, publish_version
from headrace.weights.format.slot_header import PAYLOAD_START
from services.ckpt.agent.pulling.slots import HostSlots
from tests.slot_kit import map_tensors

CHUNK = 1024
NEVER = bool  # called without arguments: False


def version(number: int, store: MemoryChunkStore, changed: int = 0, elements: int = 4096):
    """`elements` floats of which the first `changed` are the version's number."""
    weight = torch.arange(float(elements))
    weight[:changed] = float(number)
    return publish_version(
        {"w": weight},
        VersionFacts(model="m", version=number, base_version=number - 1, epoch=1, step=1, created_at=0),
        store=store,
        chunk_size=CHUNK,
    )


@pytest.fixture
def store():
    return MemoryChunkStore()


@pytest.fixture
def slots(tmp_path, store):
    made = HostSlots(store, "test", limit=4, parallel=2, root=tmp_path)
    yield made
    made.close()


def fill(slots, manifest, keep=()):
    return slots.fill(manifest, set(keep), NEVER)


def test_only_the_chunks_that_changed_travel(slots, store):
    """The version before is kept and mapped, so the new one goes into another slot; the rest is copied from there."""
    one = version(1, store)
    path, first = fill(slots, one)
    mapped = map_tensors(path, one, one.digest)["w"]
    two = version(2, store, changed=10)
    other, second = fill(slots, two, [one.digest])
    assert other != path
    assert (first.bytes_pulled, first.bytes_reused) == (one.size, 0)
    assert 0 < second.bytes_pulled <= 2 * CHUNK
    assert second.bytes_pulled + second.bytes_reused == two.size
    assert map_tensors(other, two, two.digest)["w"][:11].tolist() == [2.0] * 10 + [10.0]
    assert mapped.tolist() == list(range(4096))


def test_what_is_in_memory_needs_no_store(slots, store):
    """Rolling forward and back between versions of which the store has lost every chunk that did not change."""
    one = version(1, store)
    fill(slots, one)
    two = version(2, store, changed=10)
    for digest in set(one.chunks) & set(two.chunks):
        del store.chunks["m", digest]
    path, pulled = fill(slots, two, [one.digest])
    assert pulled.bytes_reused > two.size * 0.8
    assert map_tensors(path, two, two.digest)["w"][0] == 2


def test_corrupt_memory_is_never_adopted(slots, store):
    """A bit flipped in a slot: the chunk copied from it is not what its digest names, and is pulled after all."""
    one = version(1, store)
    path, _ = fill(slots, one)
    position = PAYLOAD_START + 8 * CHUNK + 5
    with path.open("r+b") as file:
        good = os.pread(file.fileno(), 1, position)[0]
        os.pwrite(file.fileno(), bytes([good ^ 1]), position)
    two = version(2, store, changed=10)
    other, pulled = fill(slots, two, [one.digest])
    weight = version(2, MemoryChunkStore(), changed=10)
    assert weight.chunks == two.chunks
    assert map_tensors(other, two, two.digest)["w"][10:].tolist() == list(range(10, 4096))
    assert CHUNK < pulled.bytes_pulled <= 3 * CHUNK


def test_versions_of_other_sizes_share_what_they_can(slots, store):
    """The last chunk is shorter: it is taken only where its length fits too."""
    one, two = version(1, store, elements=4096), version(2, store, elements=5000)
    fill(slots, one)
    path, _ = fill(slots, two, [one.digest])
    assert map_tensors(path, two, two.digest)["w"].tolist() == list(range(5000))
    third = version(3, store, elements=3000)
    path, _ = fill(slots, third, [one.digest, two.digest])
    assert map_tensors(path, third, third.digest)["w"].tolist() == list(range(3000))


def test_a_successor_reuses_what_the_agent_before_had_pulled(tmp_path, store):
    """It knows no digests of the slots that it adopts: it takes them anew, once."""
    dead = HostSlots(store, "test", limit=4, parallel=2, root=tmp_path)
    one = version(1, store)
    fill(dead, one)
    (pool,) = dead._pools.values()
    for slot in pool._slots:
        slot.close()
    os.close(pool._owner)
    heir = HostSlots(store, "test", limit=4, parallel=2, root=tmp_path)
    two = version(2, store, changed=10)
    path, pulled = fill(heir, two, [one.digest])
    assert 0 < pulled.bytes_pulled <= 2 * CHUNK
    assert map_tensors(path, two, two.digest)["w"][0] == 2
    heir.close()
