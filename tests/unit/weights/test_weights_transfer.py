"""Publishing and pulling: verified, resumable, and through a store that fails."""

import pytest
import torch

from headrace.weights import (
    FallbackStore,
    MemoryChunkStore,
    VersionFacts,
    checkpoint_event,
    fetch,
    publish_version,
    pull,
)
from headrace.weights.errors import ChunkCorrupt, ChunkMissing, StoreUnavailable, Superseded
from headrace.weights.format.manifest import Manifest, check_signature
from headrace.weights.host.present_chunks import PresentChunks
from headrace.weights.stores.port import GRACE_S

STATE = {"w": torch.arange(1000.0), "n": torch.tensor(7)}


def put(store, state=STATE, version=1, **more):
    facts = VersionFacts(
        model="m",
        version=version,
        base_version=version - 1,
        epoch=1,
        step=9,
        offsets={"t": {1: 5, 0: 4}},
        metrics={"loss": 0.5, "nan": float("nan")},
        **more,
    )
    return publish_version(state, facts, store=store, chunk_size=512)


class Broken(MemoryChunkStore):
    """A store that does not answer while `down`."""

    name = "broken"
    down = False
    asked = 0
    hangs = staticmethod(lambda: None)

    def _check(self):
        self.asked += 1
        if self.down:
            self.hangs()
            raise StoreUnavailable("down")

    def claim(self, model, digests):
        self._check()
        return super().claim(model, digests)

    def put(self, model, digest, data):
        self._check()
        super().put(model, digest, data)

    def get_into(self, model, digest, buffer):
        self._check()
        super().get_into(model, digest, buffer)

    def sweep(self, model, keep, grace_s=GRACE_S):
        self._check()
        return super().sweep(model, keep, grace_s)


def test_what_is_published_is_fetched_bit_for_bit():
    """Also after the manifest went over the wire."""
    store = MemoryChunkStore()
    manifest = Manifest.decode(put(store).encode())
    got = fetch(manifest, store)
    assert all(torch.equal(got[name], STATE[name]) for name in STATE)
    assert len(manifest.chunks) > 4
    assert manifest.metrics == {"loss": 0.5}


def test_publishing_again_writes_only_what_is_new():
    """Chunks that did not change are there already."""
    store = MemoryChunkStore()
    put(store)
    before = len(store.chunks)
    changed = STATE["w"].clone()
    changed[0] += 1
    put(store, {**STATE, "w": changed}, version=2)
    assert len(store.chunks) == before + 1


def test_the_event_carries_the_pointer_and_its_signature():
    """A coordinator needs nothing else."""
    manifest = put(MemoryChunkStore())
    event = checkpoint_event(manifest, signing_key=b"key", newest_label_us=3)
    assert Manifest.decode(event.manifest) == manifest
    assert event.manifest_digest == manifest.digest
    assert {(o.topic, o.partition, o.offset) for o in event.offsets} == {("t", 0, 4), ("t", 1, 5)}
    check_signature(event.manifest, event.signature, b"key")


def test_an_interrupted_pull_resumes_where_it_stopped():
    """Verified chunks that are in place are not pulled again."""
    store = MemoryChunkStore()
    manifest = put(store)
    buffer, present = bytearray(manifest.size), PresentChunks()
    lost = manifest.chunks[3]
    data = store.chunks.pop(("m", lost))
    with pytest.raises(ChunkMissing):
        pull(manifest, store, memoryview(buffer), present=present, parallel=1)
    assert present.snapshot()[:3] == manifest.chunks[:3]
    store.put("m", lost, data)
    pulled = pull(manifest, store, memoryview(buffer), present=present, parallel=1)
    assert pulled.bytes_reused == 3 * 512
    assert present.holds(manifest.chunks)
    assert pull(manifest, store, memoryview(buffer), present=present).bytes_pulled == 0


def test_a_pull_is_given_up_for_a_newer_version():
    """It stops at the next chunk."""
    store = MemoryChunkStore()
    manifest = put(store)
    with pytest.raises(Superseded):
        pull(manifest, store, memoryview(bytearray(manifest.size)), cancelled=lambda: True)


def test_chunks_in_memory_are_copied_and_trusted_only_if_they_are_what_they_are_called():
    """One is right, one is damaged, one has the wrong length: two travel."""
    store = MemoryChunkStore()
    manifest = put(store)
    right, damaged, short = (store.chunks["m", manifest.chunks[i]] for i in (1, 2, 3))
    resident = {
        manifest.chunks[1]: memoryview(right),
        manifest.chunks[2]: memoryview(bytes([damaged[0] ^ 1]) + damaged[1:]),
        manifest.chunks[3]: memoryview(short[:-1]),
    }
    del store.chunks["m", manifest.chunks[1]]
    buffer = bytearray(manifest.size)
    pulled = pull(manifest, store, memoryview(buffer), resident=resident)
    assert pulled.bytes_reused == 512
    assert bytes(buffer[512:2048]) == right + damaged + short


def test_a_corrupt_chunk_is_refused():
    """One flipped bit, or a byte too few."""
    store = MemoryChunkStore()
    manifest = put(store)
    key = ("m", manifest.chunks[1])
    good = store.chunks[key]
    for bad in (bytes([good[0] ^ 1]) + good[1:], good[:-1]):
        store.chunks[key] = bad
        with pytest.raises(ChunkCorrupt, match=manifest.chunks[1]):
            fetch(manifest, store)


def test_a_lost_or_damaged_chunk_comes_from_the_durable_store_and_is_put_back():
    """The fast store heals."""
    fast, durable = MemoryChunkStore(), MemoryChunkStore()
    store = FallbackStore(fast, durable)
    manifest = put(store)
    del fast.chunks["m", manifest.chunks[0]]
    fast.chunks["m", manifest.chunks[1]] = b"junk"
    got = fetch(manifest, store)
    assert torch.equal(got["w"], STATE["w"])
    assert store.fallbacks == 2
    assert fast.chunks == durable.chunks


def test_what_the_fast_store_gives_is_taken_from_it_also_after_one_that_it_lost():
    """The durable store gives the one in the middle, and no other."""
    fast, durable = MemoryChunkStore(), MemoryChunkStore()
    store = FallbackStore(fast, durable)
    manifest = put(store)
    lost = manifest.chunks[2]
    del fast.chunks["m", lost]
    durable.chunks = {("m", lost): durable.chunks["m", lost]}
    pull(manifest, store, memoryview(bytearray(manifest.size)), parallel=1)
    assert store.fallbacks == 1
    assert ("m", lost) in fast.chunks


def test_an_outage_of_the_fast_store_costs_one_attempt_and_then_it_is_used_again():
    """It is left alone for a while, and everything works meanwhile."""
    now = [0.0]
    fast, durable = Broken(), MemoryChunkStore()
    store = FallbackStore(fast, durable, retry_s=1.0, clock=lambda: now[0])
    fast.down = True
    manifest = put(store)
    fetch(manifest, store)
    assert fast.asked == 1
    assert not fast.chunks
    fast.down, now[0] = False, 2.0
    fetch(manifest, store)
    assert fast.chunks == durable.chunks
    assert put(store, created_at=manifest.created_at) == manifest


@pytest.mark.parametrize("attempt", ["claim", "put", "get", "sweep"])
def test_a_fast_store_that_hangs_is_left_alone_for_longer_than_one_that_refuses(attempt):
    """Each attempt runs into its timeout: most of the time must not go into them."""
    now = [100.0]
    fast, durable = Broken(), MemoryChunkStore()
    store = FallbackStore(fast, durable, retry_s=1.0, clock=lambda: now[0])
    manifest = put(store)
    attempts = {
        "claim": lambda: store.claim("m", manifest.chunks),
        "put": lambda: store.put("m", "d", b"new"),
        "get": lambda: fetch(manifest, store),
        "sweep": lambda: store.sweep("m", manifest.chunks),
    }
    fast.down, fast.hangs = True, lambda: now.__setitem__(0, now[0] + 5.0)
    attempts[attempt]()
    assert now == [105.0]
    for at, asked in ((124.0, 124.0), (126.0, 131.0)):
        now[0] = at
        attempts[attempt]()
        assert now == [asked]


def test_the_fast_store_is_swept_also_while_the_durable_one_takes_no_changes():
    """Its memory is what runs out first; the error is told all the same."""
    durable, fast = Broken(), MemoryChunkStore()
    put(FallbackStore(fast, durable))
    durable.down = True
    with pytest.raises(StoreUnavailable):
        FallbackStore(fast, durable).sweep("m", (), grace_s=0)
    assert not fast.chunks
    assert durable.chunks


def test_without_the_durable_store_nothing_is_published():
    """Durable first: an event must never name chunks that only a cache had."""
    durable, fast = Broken(), MemoryChunkStore()
    durable.down = True
    with pytest.raises(StoreUnavailable):
        put(FallbackStore(fast, durable))
    assert not fast.chunks
