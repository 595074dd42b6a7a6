"""Shared memory: recycled, bounded, and never written while mapped."""

import gc
from pathlib import Path

import pytest
import torch

from headrace.weights import MemoryChunkStore, VersionFacts, publish_version, pull
from headrace.weights.errors import SlotError, SlotsBusy
from headrace.weights.format.slot_header import PAYLOAD_START
from headrace.weights.host.slots import SlotPool, remove_stale_pools
from headrace.weights.worker.mapping import map_slot, tensors_of, thin
from tests.slot_kit import map_tensors

STORE = MemoryChunkStore()


def version(number: int, elements: int = 5000):
    return publish_version(
        {"w": torch.full((elements,), float(number)), "b": torch.ones(3, dtype=torch.bfloat16)},
        VersionFacts(model="m", version=number, base_version=number - 1, epoch=1, step=1, created_at=0),
        store=STORE,
        chunk_size=4096,
    )


def fill(pool: SlotPool, manifest, keep=()) -> Path:
    slot = pool.acquire(manifest.size, keep, manifest.digest)
    pull(manifest, STORE, slot.begin(manifest, manifest.digest), present=slot.chunks)
    slot.seal(manifest, manifest.digest)
    return slot.path


@pytest.fixture
def pool(tmp_path):
    made = SlotPool("test", limit=2, root=tmp_path)
    yield made
    made.close()
    assert not list(tmp_path.iterdir())


def test_a_mapped_slot_is_read_without_a_copy_and_cannot_be_changed_from_there(pool):
    """What a network does to its tensors stays its own."""
    manifest = version(1)
    path = fill(pool, manifest)
    mine, other = (map_tensors(path, manifest, manifest.digest) for _ in range(2))
    mine["w"].add_(1)
    assert other["w"].unique().tolist() == [1]
    assert other["b"].dtype == torch.bfloat16


def test_a_slot_is_recycled_when_its_last_tensor_is_gone(pool):
    """Until then it is busy; no message is needed to release it."""
    first, second = version(1), version(2)
    path = fill(pool, first)
    weight = map_tensors(path, first, first.digest)["w"]
    fill(pool, second)
    with pytest.raises(SlotsBusy):
        pool.acquire(first.size, keep={second.digest})
    del weight
    gc.collect()
    assert fill(pool, version(3), keep={second.digest}) == path
    assert len(pool) == 2


def test_a_recycled_slot_receives_only_the_chunks_that_changed(pool):
    """The third version differs from the first in its scalar part only."""
    store = MemoryChunkStore()
    state = {"w": torch.arange(4096.0), "b": torch.zeros(1)}
    first, second = (VersionFacts(model="m", version=v, base_version=v - 1, epoch=1, step=1) for v in (1, 2))
    one = publish_version(state, first, store=store, chunk_size=1024)
    two = publish_version({**state, "b": torch.ones(1)}, second, store=store, chunk_size=1024)
    moved = []
    for manifest in (one, two):
        slot = pool.acquire(manifest.size)
        moved.append(pull(manifest, store, slot.begin(manifest, manifest.digest), present=slot.chunks).bytes_pulled)
        slot.seal(manifest, manifest.digest)
    assert moved[0] == one.size
    assert moved[1] <= 1024
    assert map_tensors(slot.path, two, two.digest)["b"].tolist() == [1]


def test_slots_grow_and_keep_what_they_hold(pool):
    """A larger version needs no second file."""
    path = fill(pool, version(1, 100))
    large = version(2, 100_000)
    assert fill(pool, large) == path
    assert pool.memory >= large.size
    assert map_tensors(path, large, large.digest)["w"].sum() == 200_000


def test_a_slot_that_was_recycled_meanwhile_is_recognized(pool):
    """A worker that comes late finds another version, or a writer, and maps neither."""
    first, second = version(1), version(2)
    path = fill(pool, first)
    assert fill(pool, second) == path
    with pytest.raises(SlotError, match="no longer holds"):
        map_tensors(path, first, first.digest)
    slot = pool.acquire(second.size)
    with pytest.raises(SlotError, match="being written"):
        map_tensors(path, second, second.digest)
    slot.abandon()
    slot.begin(first, first.digest)
    with pytest.raises(SlotError, match="no longer holds"):
        map_tensors(path, second, second.digest)
    with pytest.raises(SlotError, match="cannot open"):
        map_tensors(path.with_name("absent"), first, first.digest)


def abandon(pool: SlotPool) -> None:
    """End a pool as a SIGKILL ends an agent: locks go, files stay."""
    import os

    for slot in pool._slots:
        slot.close()
    os.close(pool._owner)


def test_a_successor_adopts_the_slots_and_spares_those_that_workers_map(tmp_path):
    """After a crash nothing is pulled again, and nothing that serves is written."""
    dead = SlotPool("test", limit=2, root=tmp_path)
    first, second = version(1), version(2)
    mapped = map_tensors(fill(dead, first), first, first.digest)
    fill(dead, second)
    abandon(dead)
    heir = SlotPool("test", limit=2, root=tmp_path)
    assert heir.find(first.digest) is not None
    assert heir.find(second.digest) is not None
    path = fill(heir, version(3))
    assert path == heir.find(version(3).digest).path
    assert heir.find(first.digest) is not None
    with pytest.raises(SlotsBusy):
        heir.acquire(first.size, keep={version(3).digest})
    heir.close()
    assert mapped["w"].unique().tolist() == [1]


def test_a_successor_resumes_an_unfinished_slot(tmp_path):
    """The chunks that its predecessor had put in place are recognized by their digests."""
    manifest = version(1)
    dead = SlotPool("test", root=tmp_path)
    buffer = dead.acquire(manifest.size).begin(manifest, manifest.digest)
    STORE.get_into("m", manifest.chunks[0], buffer[:4096])
    del buffer
    abandon(dead)
    heir = SlotPool("test", root=tmp_path)
    slot = heir.acquire(manifest.size, digest=manifest.digest)
    pulled = pull(manifest, STORE, slot.begin(manifest, manifest.digest), present=slot.chunks)
    assert pulled.bytes_reused == 4096
    heir.close()


def test_one_owner_at_a_time_and_the_dead_ones_pools_are_removed(tmp_path):
    """A pool whose owner lives is left alone; one whose owner is dead goes, mapped or not."""
    alive, dead = SlotPool("alive", root=tmp_path), SlotPool("dead", root=tmp_path)
    manifest = version(1)
    mapped = map_tensors(fill(dead, manifest), manifest, manifest.digest)
    abandon(dead)
    with pytest.raises(SlotError, match="running"):
        SlotPool("alive", root=tmp_path)
    assert remove_stale_pools(tmp_path) in ([], [dead.folder])
    assert [folder.name for folder in tmp_path.iterdir()] == [alive.folder.name]
    assert mapped["w"].unique().tolist() == [1]
    alive.close()


def test_where_no_file_can_be_made_the_version_fails_and_not_the_agent(tmp_path):
    """As where /dev/shm has no more files to give; the next attempt, with room, is right."""
    in_the_way = tmp_path / "shm"
    in_the_way.write_text("a file where the folder should be")
    with pytest.raises(SlotError, match=r"cannot make slots in .*: Not a directory.*not full"):
        SlotPool("test", root=in_the_way)
    in_the_way.unlink()
    in_the_way.mkdir()
    made = SlotPool("test", root=in_the_way)
    made.close()


def test_no_room_is_an_error_that_says_so(pool, monkeypatch):
    """Pages are allocated before they are written, so that a full /dev/shm cannot kill the agent."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    manifest = version(1)
    slot = pool.acquire(manifest.size)
    with pytest.raises(SlotError, match=r"No space left.*shm-size"):
        slot.begin(manifest, manifest.digest)
    slot.abandon()
    assert pool.memory == PAYLOAD_START


def test_a_map_thinned_out_still_shows_the_slot(pool):
    """Its pages leave the process piece by piece.

    Its bytes are there, without what was written over them in this process.
    """
    large = version(1, 700_000)
    path = fill(pool, large)
    mapped = map_slot(path, large, large.digest)
    weight = tensors_of(mapped, large)["w"]
    assert weight.sum() == 700_000
    weight[0] = 7
    assert resident_kib(path) > 2000
    turns: list[None] = []
    thin(mapped, lambda: turns.append(None))
    assert len(turns) == 3
    assert resident_kib(path) == 0
    assert weight[:2].tolist() == [1, 1]


def resident_kib(path: Path) -> int:
    """Of this process's private map of a file; the pool has a shared one."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    (at,) = (n for n, line in enumerate(lines) if line.endswith(str(path)) and " rw-p " in line)
    return next(int(line.split()[1]) for line in lines[at:] if line.startswith("Rss:"))
