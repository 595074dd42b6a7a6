"""Deltas: a version built from an earlier one is the version, bit for bit, or it is built in another way."""

import contextlib
import math
import os

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.weights import FallbackStore, Lineage, Manifest, MemoryChunkStore, VersionFacts, fetch, publish_version
from headrace.weights.errors import LOST, ChainBroken, DeltaError, StoreUnavailable, Superseded
from headrace.weights.format.chunks import digest_of, spans
from headrace.weights.format.manifest import Delta
from headrace.weights.format.patches import diff, parse
from headrace.weights.format.payload import DTYPES, dump, layout
from headrace.weights.host.present_chunks import PresentChunks
from headrace.weights.host.rebuilding import rebuild
from headrace.weights.publish.lineage import MOST_CHUNKS
from headrace.weights.publish.publishing import put_back

CHUNK = 256
LITTLE = {"epoch": 1, "step": 1, "created_at": 0, "model": "m"}


def put(store, lineage, version, state, *, chunk_size=CHUNK, **more):
    """Publish a version in chunks of 256 bytes."""
    facts = VersionFacts(version=version, base_version=version - 1, **{**LITTLE, **more})
    return publish_version(state, facts, store=store, lineage=lineage, chunk_size=chunk_size)


def tensor_of(data, dtype, shape):
    return (
        torch.frombuffer(bytearray(data), dtype=torch.uint8).view(dtype).reshape(shape)
        if data
        else torch.empty(shape).to(dtype)
    )


class Host:
    """What a host has in memory: the payload that was built last, beside the one being built."""

    def __init__(self, store):
        self.store = store
        self.manifest = None
        self.payload = memoryview(bytearray())

    def take(self, manifest, *, present=None, buffer=None, cancelled=lambda: False, here=None):
        """Build a version, from the last one where that helps; return its bytes, and how many travelled."""
        buffer = memoryview(bytearray(manifest.size)) if buffer is None else buffer
        resident, payloads = self.here() if here is None else here
        pulled = rebuild(
            manifest, self.store, buffer, present=present, resident=resident, payloads=payloads, cancelled=cancelled,
            parallel=1,
        )  # fmt: skip
        self.manifest, self.payload = manifest, buffer
        return bytes(buffer), pulled.bytes_pulled

    def here(self):
        if self.manifest is None:
            return {}, []
        cut = spans(self.manifest.size, self.manifest.chunk_size)
        chunks = self.manifest.chunks
        return {d: self.payload[a:b] for d, (a, b) in zip(chunks, cut, strict=True)}, [chunks]


# What is promised.

PLAIN = sorted(set(DTYPES) - {"BOOL"})
dtypes = st.sampled_from(PLAIN)
tables = st.tuples(dtypes, st.tuples(st.integers(50, 200), st.integers(1, 12)))
others = st.lists(st.tuples(dtypes, st.lists(st.integers(0, 5), max_size=3)), max_size=3)
schemas = st.builds(lambda table, rest: [table, *rest], tables, others)


@st.composite
def lives(draw):
    """A model's states, one a version: of each tensor nothing changes, some rows, or all of it; at times the schema."""
    schema, random = draw(schemas), draw(st.randoms(use_true_random=False))

    def fresh():
        return {
            f"t{i}": tensor_of(random.randbytes(math.prod(shape) * DTYPES[code].itemsize), DTYPES[code], shape)
            for i, (code, shape) in enumerate(schema)
        }

    states = [fresh()]
    for _ in range(draw(st.integers(2, 8))):
        if draw(st.integers(0, 9)) == 0:
            schema = draw(schemas)
            states.append(fresh())
            continue
        state = {}
        for name, tensor in states[-1].items():
            raw = (
                bytearray(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
                if tensor.numel()
                else bytearray()
            )
            for _ in range(draw(st.sampled_from([0, 1, 2, 3, 500])) if raw else 0):
                raw[random.randrange(len(raw))] ^= random.randrange(256)
            state[name] = tensor_of(raw, tensor.dtype, tensor.shape)
        states.append(state)
    return states


@settings(max_examples=150, deadline=None)
@given(lives(), st.sampled_from([2, 3, 9]), st.data())
def test_any_version_built_by_deltas_is_the_one_that_was_published_bit_for_bit(states, anchor_every, data):
    """From whichever version a host has, with any number skipped, in place or beside, and from nothing at all."""
    store, lineage = MemoryChunkStore(), Lineage(anchor_every=anchor_every, least=0)
    steady, jumping, chunk = Host(store), Host(store), data.draw(st.sampled_from([100, 777, 4096]))
    for version, state in enumerate(states, 1):
        manifest = Manifest.decode(put(store, lineage, version, state, chunk_size=chunk).encode())
        payload = dump(state)
        assert steady.take(manifest)[0] == payload
        if data.draw(st.booleans()):
            known = PresentChunks(jumping.manifest.chunks if jumping.manifest else ())
            same = len(jumping.payload) == manifest.size and data.draw(st.booleans())
            more = {"buffer": jumping.payload, "present": known, "here": ({}, [])} if same else {}
            assert jumping.take(manifest, **more)[0] == payload
        assert Host(store).take(manifest)[0] == payload
        got = fetch(manifest, store)
        assert dump(got) == payload


@settings(max_examples=30, deadline=None)
@given(lives(), st.data())
def test_whatever_the_store_loses_a_version_that_its_trainer_puts_back_is_had_bit_for_bit(states, data):
    """By a host that follows and by one that has nothing.

    And what cannot be had is said to be lost, never something else.
    """
    store, lineage = MemoryChunkStore(), Lineage(anchor_every=9, least=0)
    steady, chunk = Host(store), data.draw(st.sampled_from([100, 777]))
    for version, state in enumerate(states, 1):
        manifest = put(store, lineage, version, state, chunk_size=chunk)
        for digest in data.draw(
            st.lists(st.sampled_from(sorted(digest for _, digest in store.chunks)), max_size=2, unique=True)
        ):
            damage(store, [digest], data.draw(st.sampled_from(["missing", "corrupt"])))
        for host in (steady, Host(store)):
            try:
                payload, _ = host.take(manifest)
            except LOST:
                lineage.begin_anew()
                assert put_back(state, model="m", store=store, chunk_size=chunk) > 0
                payload, _ = host.take(manifest)
            assert payload == dump(state)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_as_a_delta(header, body):
    """Whatever they are, and whatever their length says."""
    specs = layout(dump({"w": torch.zeros(4, 3), "e": torch.empty(0, 3)}))
    for data in (body, len(header).to_bytes(8, "little") + header + body):
        with contextlib.suppress(DeltaError):
            for patch in parse(data, specs):
                patch.write(memoryview(bytearray(1000)))


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (b"[[2,1]]", bytes(16)),
        (b"[[0,5]]", bytes(80)),
        (b"[[0,0]]", b""),
        (b"[[0,-2]]", bytes(16)),
        (b"[[0,1]]", bytes(15)),
        (b"[[0,1]]", bytes(17)),
        (b"[[0,1]]", b"\x04" + bytes(15)),
        (b"[[0,2]]", bytes(32)),
        (b"[[1,-1]]", b""),
    ],
)
def test_a_delta_that_names_what_is_not_there_is_refused(header, body):
    """A tensor, a row, a length; rows twice or out of order: nothing outside the tensor can be written."""
    specs = layout(dump({"a": torch.zeros(4, 3), "e": torch.empty(0, 3)}))
    specs.sort(key=lambda spec: spec.name)
    with pytest.raises(DeltaError):
        parse(len(header).to_bytes(8, "little") + header + body, specs)


# A model whose embedding is sparse, as in the rest of this file.

ROWS, WIDTH = 400, 16


def embedding(version=1, rows=ROWS):
    """Version by version, another four rows change, and the bias; nothing else."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.rand(rows, WIDTH, generator=generator)
    for n in range(2, version + 1):
        weight[(n * 37) % rows :: rows // 4] += n
    return {"embedding": weight, "bias": torch.full((3,), float(version)), "frozen": torch.ones(500)}


@pytest.fixture
def store():
    return MemoryChunkStore()


def chain(store, count, **more):
    lineage = Lineage(least=0, **more)
    return [put(store, lineage, n, embedding(n)) for n in range(1, count + 1)]


def own_chunks(manifest, version):
    """The bytes of a version's own chunks."""
    payload = dump(embedding(version))
    return {("m", digest_of(payload[a:b])): payload[a:b] for a, b in spans(manifest.size, CHUNK)}


def test_what_a_host_needs_is_the_links_after_what_it_has(store):
    """The next one, or all that were skipped; without anything, the anchor too."""
    versions = chain(store, 6)
    sizes = [version.delta.links[-1].size for version in versions[1:]]
    host = Host(store)
    assert host.take(versions[0])[1] == versions[0].size
    assert host.take(versions[1])[1] == sizes[0] < versions[0].size / 20
    assert host.take(versions[4])[1] == sum(sizes[1:4])
    assert Host(store).take(versions[5])[1] == versions[0].size + sum(sizes)


def test_a_delta_writes_nothing_but_its_link(store):
    """What the trainer writes is what hosts read."""
    lineage = Lineage(least=0)
    put(store, lineage, 1, embedding(1))
    before = set(store.chunks)
    second = put(store, lineage, 2, embedding(2))
    assert {digest for _, digest in set(store.chunks) - before} == set(second.delta.links[-1].chunks)


def test_one_percent_of_the_rows_is_about_one_percent_of_the_bytes():
    """With anchors counted, below 5 % at the default distance of anchors."""
    store, lineage, rows = MemoryChunkStore(), Lineage(), 20_000
    weight = torch.rand(rows, 32)
    moved = []
    for version in range(1, 65):
        if version > 1:
            weight = weight.clone()
            weight[torch.randperm(rows)[: rows // 100]] += 1
        manifest = put(store, lineage, version, {"w": weight}, chunk_size=1 << 20)
        moved.append((manifest.delta.links[-1].size if manifest.delta else manifest.size) / manifest.size)
    assert moved.count(1.0) == 2
    assert max(share for share in moved if share < 1) < 0.011
    assert sum(moved) / len(moved) < 0.05


# When a version is an anchor.


def kinds(versions):
    return ["d" if version.delta else "A" for version in versions]


def test_every_so_often_a_version_is_an_anchor(store):
    """Counting the anchor itself; 1 makes every version one."""
    assert "".join(kinds(chain(store, 7, anchor_every=3))) == "AddAddA"
    assert "".join(kinds(chain(store, 3, anchor_every=1))) == "AAA"


def test_another_schema_or_chunk_size_or_an_older_version_is_an_anchor(store):
    """Deltas go on after it."""
    lineage = Lineage(least=0)
    versions = [put(store, lineage, 1, embedding(1)), put(store, lineage, 2, embedding(2))]
    versions.append(put(store, lineage, 3, {**embedding(3), "bias": torch.ones(5)}))
    versions.append(put(store, lineage, 4, {**embedding(4), "bias": torch.ones(5)}))
    versions.append(put(store, lineage, 5, {**embedding(5), "bias": torch.ones(5)}, chunk_size=512))
    versions.append(put(store, lineage, 5, {**embedding(5), "bias": torch.zeros(5)}, chunk_size=512))
    assert "".join(kinds(versions)) == "AdAdAA"


def test_a_new_trainer_begins_with_an_anchor(store):
    """It has nothing to compare with."""
    chain(store, 3)
    assert kinds([put(store, Lineage(least=0), 4, embedding(4), epoch=2)]) == ["A"]


def test_an_update_of_most_of_the_bytes_is_an_anchor(store):
    """And the chain goes on from there."""
    lineage = Lineage(least=0)
    dense = {**embedding(2), "embedding": embedding(2)["embedding"] + 1}
    later = {**dense, "bias": torch.zeros(3)}
    versions = [put(store, lineage, n, state) for n, state in enumerate((embedding(1), dense, later), 1)]
    assert kinds(versions) == ["A", "A", "d"]
    assert Host(store).take(versions[2])[0] == dump(later)


def test_a_chain_never_outgrows_half_the_payload(store):
    """What a late joiner pulls is bounded, whatever the distance of anchors."""
    lineage = Lineage(least=0, anchor_every=1000)
    weight, versions = torch.zeros(ROWS, WIDTH), []
    for version in range(1, 21):
        weight = weight.clone()
        weight[version::10] += 1
        versions.append(put(store, lineage, version, {"w": weight}))
    assert 2 < kinds(versions).count("A") < 10
    assert all(version.delta.size <= version.size / 2 for version in versions if version.delta)


def test_little_bytes_travel_as_chunks(store):
    """A delta saves no time where round trips are all there is."""
    lineage = Lineage(least=1 << 20)
    assert kinds(put(store, lineage, n, embedding(n)) for n in (1, 2)) == ["A", "A"]


def test_weights_that_did_not_change_are_a_delta_of_nothing(store):
    """After a delta; after an anchor, all of it is in the stores."""
    lineage = Lineage(least=0)
    states = [embedding(1), embedding(1), embedding(2), embedding(2)]
    versions = [put(store, lineage, n, state) for n, state in enumerate(states, 1)]
    assert kinds(versions) == ["A", "A", "d", "d"]
    assert versions[3].delta.links[-1].size < 20
    host = Host(store)
    host.take(versions[2])
    assert host.take(versions[3]) == (dump(embedding(2)), versions[3].delta.links[-1].size)


@pytest.mark.parametrize("lost", ["anchor", "link"])
def test_a_chain_that_left_the_stores_is_given_up_for_an_anchor(store, lost):
    """The trainer finds out when it claims the chain, before anybody is pointed to it."""
    lineage = Lineage(least=0)
    versions = [put(store, lineage, n, embedding(n)) for n in (1, 2, 3)]
    del store.chunks["m", versions[0].chunks[1] if lost == "anchor" else versions[1].delta.links[0].chunks[0]]
    fourth = put(store, lineage, 4, embedding(4))
    assert not fourth.delta
    assert Host(store).take(fourth)[0] == dump(embedding(4))
    assert put(store, lineage, 5, embedding(5)).delta


def test_a_chain_that_only_the_fast_store_lost_goes_on():
    """Whoever reads the event finds it in the durable one, and puts back what it read."""
    fast, durable = MemoryChunkStore(), MemoryChunkStore()
    store, lineage = FallbackStore(fast, durable), Lineage(least=0)
    for version in (1, 2):
        put(store, lineage, version, embedding(version))
    fast.chunks.clear()
    third = put(store, lineage, 3, embedding(3))
    assert len(third.delta.links) == 2
    assert Host(store).take(third)[0] == dump(embedding(3))
    assert set(third.delta.anchor) <= {digest for _, digest in fast.chunks}


def test_a_payload_of_too_many_chunks_for_a_manifest_with_a_delta_is_an_anchor(store):
    """With fewer it is a delta. Four rows are a chunk."""
    found = []
    for chunks in (MOST_CHUNKS, MOST_CHUNKS - 10):
        lineage, weight = Lineage(least=0), torch.zeros(4 * chunks, 16)
        put(store, lineage, 1, {"w": weight})
        weight[::100, 0] += 1
        found.append(put(store, lineage, 2, {"w": weight}))
    assert kinds(found) == ["A", "d"]


def test_a_chain_is_spared_by_sweeps_for_as_long_as_its_newest_version_is_kept(store):
    """Retention by reference: nothing that version 5 may be built from goes, though 1 to 4 are not kept."""
    versions = chain(store, 5)
    store.sweep("m", versions[4].references, grace_s=-1)
    assert Host(store).take(versions[4])[0] == dump(embedding(5))
    store.sweep("m", (), grace_s=-1)
    assert not store.chunks


# What may go wrong.


def damage(store, digests, how):
    for digest in digests:
        if how == "missing":
            del store.chunks["m", digest]
        else:
            data = store.chunks["m", digest]
            store.chunks["m", digest] = data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("how", ["missing", "corrupt"])
@pytest.mark.parametrize("link", [0, 1, 2])
@pytest.mark.parametrize("full", [True, False])
def test_a_link_that_cannot_be_read_leaves_the_versions_own_chunks(store, how, link, full):
    """Where the stores have them; else the error says what was tried, and the host keeps what it has."""
    versions = chain(store, 4)
    host = Host(store)
    host.take(versions[0])
    damage(store, versions[3].delta.links[link].chunks[:1], how)
    if full:
        store.chunks.update(own_chunks(versions[3], 4))
        assert host.take(versions[3])[0] == dump(embedding(4))
        return
    with pytest.raises(ChainBroken, match=r"version 4 cannot be built; from what is in memory.*; from its own chunks"):
        host.take(versions[3])
    assert bytes(host.payload) == dump(embedding(1))


def test_a_link_that_cannot_be_read_costs_little_of_what_is_in_the_buffer(store):
    """Built in place: what is there is good for another attempt once the link is back."""
    first, second = chain(store, 2)
    host = Host(store)
    host.take(first)
    known, buffer = PresentChunks(first.chunks), host.payload
    digest, *_ = second.delta.links[0].chunks
    link = store.chunks.pop(("m", digest))
    with pytest.raises(DeltaError):
        host.take(second, present=known, buffer=buffer, here=({}, []))
    store.chunks["m", digest] = link
    payload, moved = host.take(second, present=known, buffer=buffer, here=({}, []))
    assert payload == dump(embedding(2))
    assert second.delta.size < moved < second.delta.size + 8 * CHUNK


@pytest.mark.parametrize("how", ["missing", "corrupt"])
def test_what_was_lost_is_put_back_and_nothing_else(store, how):
    """A version's own chunks, of which an anchor's that never changed are some; in a fast store and behind it."""
    versions = chain(store, 3)
    frozen = sorted(set(versions[0].chunks) & set(versions[2].chunks))
    damage(store, frozen[:2], how)
    with pytest.raises(ChainBroken):
        Host(store).take(versions[2])
    both = FallbackStore(MemoryChunkStore(), store)
    whole = {digest for _, digest in store.chunks} - set(frozen[:2])
    lacking = set(versions[2].chunks) - whole
    assert put_back(embedding(3), model="m", store=store, chunk_size=CHUNK) == len(lacking)
    assert Host(store).take(versions[2])[0] == dump(embedding(3))
    assert put_back(embedding(3), model="m", store=store, chunk_size=CHUNK) == 0
    assert put_back(embedding(3), model="m", store=both, chunk_size=CHUNK) == len(set(versions[2].chunks))


def test_memory_that_is_not_what_it_was_is_replaced_from_the_anchor(store):
    """A bit flips in the payload that a host would build from."""
    versions = chain(store, 4)
    host = Host(store)
    host.take(versions[2])
    host.payload[CHUNK * 9 + 5] ^= 1
    payload, moved = host.take(versions[3])
    assert payload == dump(embedding(4))
    links = [link.size for link in versions[3].delta.links]
    assert links[-1] < moved <= versions[0].size + sum(links) + links[-1]


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("forged", ["rows", "junk"])
def test_a_link_that_leads_elsewhere_is_found_out(store, full, forged):
    """Its own digest is right; what comes out of it is not: a worker never sees it."""
    first, second = chain(store, 2)
    host = Host(store)
    host.take(first)
    other = embedding(2)
    other["embedding"][2 * 37] += 1
    changed = set(range(len(first.chunks)))
    patches = b"junk in place of a delta" if forged == "junk" else diff(
        first.tensors, dump(embedding(1)), dump(other), chunk_size=CHUNK, changed=changed, budget=1 << 20
    )  # fmt: skip
    assert patches
    cut = [patches[a:b] for a, b in spans(len(patches), CHUNK)]
    store.chunks.update({("m", digest_of(part)): part for part in cut})
    link = msgspec.structs.replace(second.delta.links[0], size=len(patches), chunks=[digest_of(part) for part in cut])
    manifest = msgspec.structs.replace(second, delta=Delta(second.delta.anchor, [link]))
    if full:
        store.chunks.update(own_chunks(second, 2))
        assert host.take(manifest)[0] == dump(embedding(2))
        return
    with pytest.raises(DeltaError, match="other digests" if forged == "rows" else "not a delta"):
        host.take(manifest)


def test_without_the_anchor_a_late_joiner_takes_the_versions_own_chunks(store):
    """Or says what is missing."""
    versions = chain(store, 3)
    damage(store, set(versions[0].chunks) - set(versions[2].chunks), "missing")
    with pytest.raises(DeltaError, match="from the anchor"):
        Host(store).take(versions[2])
    store.chunks.update(own_chunks(versions[2], 3))
    assert Host(store).take(versions[2])[0] == dump(embedding(3))


def test_a_store_that_does_not_answer_is_asked_again_later(store):
    """Nothing is wrong with what is here."""
    first, second = chain(store, 2)
    host = Host(store)
    host.take(first)

    class Down(MemoryChunkStore):
        def get_into(self, model, digest, buffer):
            raise StoreUnavailable("down")

    host.store = Down()
    with pytest.raises(DeltaError, match="down") as raised:
        host.take(second)
    assert not isinstance(raised.value, ChainBroken)
    host.store = store
    assert host.take(second)[1] == second.delta.links[0].size


@pytest.mark.parametrize("begun_from", ["memory", "place", "nothing"])
@pytest.mark.parametrize("remembered", [True, False])
def test_a_build_may_end_at_any_step_and_goes_on(store, begun_from, remembered):
    """Given up for a newer version, or its process killed, so that only the bytes are left.

    The next attempt is right.
    """
    versions = chain(store, 4)
    target, payload, steps = versions[3], dump(embedding(4)), 0
    while True:
        host = Host(store)
        if begun_from != "nothing":
            host.take(versions[1])
        here = host.here() if begun_from == "memory" else ({}, [])
        buffer = host.payload if begun_from == "place" else memoryview(bytearray(os.urandom(target.size)))
        known = PresentChunks(versions[1].chunks if begun_from == "place" else ())
        left = iter([False] * steps)
        try:
            host.take(target, present=known, buffer=buffer, cancelled=lambda left=left: next(left, True), here=here)
        except Superseded:
            after = [digest_of(buffer[a:b]) for a, b in spans(target.size, CHUNK)]
            assert all(at in {"", is_} for at, is_ in zip(known.snapshot(), after, strict=True))
            if not remembered:
                known = PresentChunks(after)
            assert host.take(target, present=known, buffer=buffer, here=here)[0] == payload
            assert known.holds(target.chunks)
            steps += 7
            continue
        assert bytes(buffer) == payload
        assert steps > 14
        return
