"""Chunks between agents.

The protocol, the leases, and whole exchanges over loopback with servers that fail in every way.
"""

import contextlib
import socket
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headrace.weights import MemoryChunkStore, VersionFacts, publish_version, pull
from headrace.weights.errors import ChunkCorrupt, PeerError, StoreUnavailable, Superseded
from headrace.weights.host.peers import wire
from headrace.weights.host.peers.chunk_leases import ChunkLeases
from headrace.weights.host.peers.client import PeerConnection
from headrace.weights.host.peers.exchange import Exchange
from headrace.weights.host.peers.server import PeerServer
from headrace.weights.host.peers.wire import Kind
from headrace.weights.host.present_chunks import PresentChunks
from tests.patience import WAIT_S

CHUNK = 1024
DIGESTS = st.lists(st.binary(min_size=16, max_size=16).map(bytes.hex), max_size=50)


class CountingStore(MemoryChunkStore):
    """Knows what was asked of it."""

    def __init__(self):
        super().__init__()
        self.given = []

    def get_into(self, model, digest, buffer):
        super().get_into(model, digest, buffer)
        self.given.append(digest)


def version(store, elements=4096, number=1):
    return publish_version(
        {"w": torch.arange(float(elements)) + number},
        VersionFacts(model="m", version=number, base_version=number - 1, epoch=1, step=1, created_at=0),
        store=store,
        chunk_size=CHUNK,
    )


class Host:
    """A buffer that peers may read, served."""

    def __init__(self, manifest, *, key=None, limit=64):
        self.manifest = manifest
        self.payload = memoryview(bytearray(manifest.size))
        self.present = PresentChunks([""] * len(manifest.chunks))
        self.leases = ChunkLeases()
        self.slot = Path("slot")
        self.leases.place(self.slot, manifest, self.payload, self.present)
        self.server = PeerServer(self.leases, key=key, limit=limit)
        self.address = f"127.0.0.1:{self.server.open('127.0.0.1')}"

    def fill(self, store, indexes=None):
        for index in range(len(self.manifest.chunks)) if indexes is None else indexes:
            start = index * CHUNK
            view = self.payload[start : start + CHUNK]
            store.get_into("m", self.manifest.chunks[index], view)
            self.present.mark(index, self.manifest.chunks[index])
            self.leases.arrived()

    def forget_all(self):
        for index in range(len(self.manifest.chunks)):
            self.present.forget(index)

    def take(self, *addresses, store, cancelled=bool, resident=None, key=None, patience_s=WAIT_S):
        return Exchange(
            self.manifest, self.payload, present=self.present, resident=resident or {}, peers=lambda _: list(addresses),
            store=store, dial=lambda address: PeerConnection(address, key=key, patience_s=patience_s),
            arrived=self.leases.arrived, cancelled=cancelled,
        )  # fmt: skip


@pytest.fixture
def store():
    return CountingStore()


@pytest.fixture
def host(store):
    with contextlib.ExitStack() as stack:

        def make(manifest, **more):
            made = Host(manifest, **more)
            stack.callback(made.server.close)
            return made

        yield make


def whole(host):
    store = MemoryChunkStore()
    other = bytearray(host.manifest.size)
    version(store, number=host.manifest.version)
    pull(host.manifest, store, memoryview(other))
    return bytes(host.payload) == bytes(other) and host.present.holds(host.manifest.chunks)


# The protocol.


@given(digests=DIGESTS)
def test_a_request_is_read_as_it_was_written(digests):
    """Count first, then names."""
    written = wire.request(digests)
    head, body = written[: wire.BATCH_HEAD_SIZE], written[wire.BATCH_HEAD_SIZE :]
    assert wire.request_size(head) == len(body)
    assert wire.digests_of(body) == digests


@given(
    head=st.binary(min_size=wire.REPLY_HEAD_SIZE, max_size=wire.REPLY_HEAD_SIZE),
    sizes=st.lists(st.integers(0, 99) | st.none()),
)
def test_a_reply_is_what_was_asked_for_or_an_error(head, sizes):
    """Whatever the bytes are: no index beyond the request, no chunk of another size, none twice."""
    try:
        reply = wire.reply_of(head, sizes)
    except PeerError:
        return
    if reply.kind is not Kind.WAIT:
        assert sizes[reply.index] is not None
        assert reply.kind is Kind.ABSENT or reply.size == sizes[reply.index]


@given(index=st.integers(0, 3), kind=st.sampled_from([Kind.CHUNK, Kind.ABSENT]))
def test_a_reply_is_read_as_it_was_written(index, kind):
    """Kind, index and size."""
    assert wire.reply_of(wire.reply(kind, index, 7), [7] * 4) == wire.Reply(kind, index, 7)


@pytest.mark.parametrize(
    "digests", [["zz"], ["00"], ["00" * 16] * (wire.MAX_BATCH + 1)], ids=["hex", "length", "count"]
)
def test_a_request_that_cannot_be_is_not_written(digests):
    """A manifest may name anything."""
    with pytest.raises(PeerError):
        wire.request(digests)


def test_a_request_for_too_many_is_not_read():
    """Its length would be a stranger's to choose."""
    with pytest.raises(PeerError, match="at most"):
        wire.request_size(b"\xff\xff\xff\xff")


@given(greeting=st.binary(max_size=40))
def test_only_a_greeting_is_a_greeting(greeting):
    """Anything else is another protocol."""
    try:
        assert wire.greeting(wire.nonce_of(greeting)) == greeting
    except PeerError:
        assert not (greeting.startswith(wire.MAGIC) and len(greeting) == wire.GREETING_SIZE)


def test_a_proof_depends_on_key_side_and_both_nonces():
    """So that none can be used a second time, or for something else."""
    shown = wire.proof(b"key", "client", b"n1", b"n2")
    wire.check_proof(shown, b"key", "client", b"n1", b"n2")
    wire.check_proof(b"anything", None, "client", b"n1", b"n2")
    for other in ((b"yek", "client", b"n1", b"n2"), (b"key", "server", b"n1", b"n2"), (b"key", "client", b"n2", b"n1")):
        with pytest.raises(PeerError, match="has not proved"):
            wire.check_proof(shown, *other)


# The leases.


def test_a_slot_is_taken_off_when_its_readers_have_let_go(store):
    """Until then it may not be written; one that does not let go is interrupted."""
    manifest = version(store)
    leases, slot = ChunkLeases(), Path("slot")
    leases.place(slot, manifest, memoryview(bytearray(manifest.size)), PresentChunks(manifest.chunks))
    interrupted = threading.Event()
    with leases.lease(manifest.chunks[0], interrupted.set) as leased:
        assert len(leased.data) == CHUNK
        taking = threading.Thread(target=leases.withdraw, args=(slot,))
        taking.start()
        assert interrupted.wait(WAIT_S)
        assert taking.is_alive()
        with leases.lease(manifest.chunks[0], lambda: None) as second:
            assert second is None
    taking.join(WAIT_S)
    assert not taking.is_alive()
    assert not leases.has(manifest.chunks[0])


def test_what_is_on_its_way_is_known_until_it_is_settled(store):
    """Others wait for it, or look elsewhere."""
    manifest = version(store)
    leases, slot, present = ChunkLeases(), Path("slot"), PresentChunks([""] * 17)
    leases.place(slot, manifest, memoryview(bytearray(manifest.size)), present)
    digest = manifest.chunks[3]
    assert leases.awaits(digest)
    assert not leases.has(digest)
    present.mark(3, digest)
    assert leases.has(digest)
    leases.settle(slot)
    assert not leases.awaits(digest)
    assert not leases.awaits("nobody heard of it")
    leases.clear()
    assert not leases.holds(slot)


# Exchanges.


def test_everything_comes_from_a_peer_that_has_it(host, store):
    """The store is asked for nothing; what was served is counted."""
    manifest = version(store)
    seed, leaf = host(manifest), host(manifest)
    seed.fill(store)
    store.given.clear()
    done = leaf.take(seed.address, store=store).run()
    assert (done.from_store, done.from_peers, dict(done.failed)) == (0, manifest.size, {})
    assert whole(leaf)
    assert store.given == []
    assert seed.leases.served("m") == manifest.size


def test_chunks_flow_through_a_chain_while_they_arrive(host, store):
    """The last agent has its first chunk from the middle one before the first agent has its last."""
    manifest = version(store)
    first, middle, last = host(manifest), host(manifest), host(manifest)
    through = threading.Event()

    def arrived():
        if last.present.snapshot()[0]:
            through.set()

    ends = [middle.take(first.address, store=store), last.take(middle.address, store=store)]
    ends[1]._arrived = arrived
    first.fill(store, [0])
    store.given.clear()
    threads = [threading.Thread(target=end.run) for end in ends]
    for thread in threads:
        thread.start()
    assert through.wait(WAIT_S)
    assert store.given == []
    first.fill(store, range(1, len(manifest.chunks)))
    for thread in threads:
        thread.join(WAIT_S)
    assert whole(middle)
    assert whole(last)
    assert len(store.given) == len(manifest.chunks) - 1  # the seed's own


def test_a_swarm_asks_the_store_for_every_chunk_once(host, store):
    """Three agents, each the root of a stripe and a leaf of the others."""
    manifest = version(store)
    hosts = [host(manifest) for _ in range(3)]

    def exchange(number):
        def peers(chunk):
            return [] if chunk % 3 == number else [hosts[chunk % 3].address]

        own = hosts[number]
        return Exchange(
            manifest, own.payload, present=own.present, resident={}, peers=peers, store=store,
            dial=lambda address: PeerConnection(address, patience_s=WAIT_S), arrived=own.leases.arrived,
        )  # fmt: skip

    threads = [threading.Thread(target=exchange(number).run) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert all(whole(one) for one in hosts)
    assert sorted(store.given) == sorted(manifest.chunks)


def test_what_a_peer_has_not_and_does_not_expect_comes_from_the_next(host, store):
    """Half from the first, the rest from the second; nobody has failed."""
    manifest = version(store)
    one, two, leaf = host(manifest), host(manifest), host(manifest)
    half = range(0, len(manifest.chunks), 2)
    one.fill(store, half)
    one.leases.settle(one.slot)
    two.fill(store)
    store.given.clear()
    done = leaf.take(one.address, two.address, store=store).run()
    assert whole(leaf)
    assert not done.failed
    assert store.given == []
    assert one.leases.served("m") == len(half) * CHUNK - (CHUNK - manifest.size % CHUNK if manifest.size % CHUNK else 0)


def test_wrong_bytes_are_never_adopted(host, store):
    """The peer is given up, and everything is right in the end."""
    manifest = version(store)
    liar, leaf = host(manifest), host(manifest)
    liar.fill(store)
    liar.payload[5 * CHUNK] ^= 1
    done = leaf.take(liar.address, store=store).run()
    assert whole(leaf)
    assert isinstance(done.failed[liar.address], ChunkCorrupt)
    assert done.from_peers == 5 * CHUNK
    assert done.from_store == manifest.size - done.from_peers


class Odd:
    """A server that does what it is told, once it was asked for chunks."""

    def __init__(self, behave):
        self._behave = behave
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        sock, _ = self._listener.accept()
        with sock:
            sock.recv(wire.GREETING_SIZE, socket.MSG_WAITALL)
            sock.sendall(wire.greeting(bytes(wire.NONCE_SIZE)) + bytes(wire.PROOF_SIZE))
            sock.recv(wire.PROOF_SIZE, socket.MSG_WAITALL)
            size = wire.request_size(sock.recv(wire.BATCH_HEAD_SIZE, socket.MSG_WAITALL))
            sock.recv(size, socket.MSG_WAITALL)
            with contextlib.suppress(OSError):
                self._behave(sock, self.over)

    def close(self):
        self.over.set()
        self._thread.join(WAIT_S)
        self._listener.close()


def dies(sock, over):
    """In the middle of a chunk."""
    sock.sendall(wire.reply(Kind.CHUNK, 0, CHUNK) + bytes(CHUNK // 2))


def freezes(sock, over):
    over.wait(WAIT_S)


def dribbles(sock, over):
    """A byte now and then, of a chunk that never ends."""
    sock.sendall(wire.reply(Kind.CHUNK, 0, CHUNK))
    while not over.wait(0.02):
        sock.sendall(b"x")


def invents(sock, over):
    sock.sendall(wire.reply(Kind.CHUNK, 99, CHUNK) + bytes(CHUNK))
    over.wait(WAIT_S)


def enlarges(sock, over):
    sock.sendall(wire.reply(Kind.CHUNK, 0, CHUNK * 1000))
    over.wait(WAIT_S)


def repeats(sock, over):
    sock.sendall(wire.reply(Kind.ABSENT, 0) * 2)
    over.wait(WAIT_S)


@pytest.mark.parametrize("behave", [dies, freezes, dribbles, invents, enlarges, repeats])
def test_a_peer_that_fails_costs_nothing_but_time(host, store, behave):
    """Its chunks come from the store; it is named, so that it can be left alone."""
    manifest = version(store)
    leaf, odd = host(manifest), Odd(behave)
    try:
        done = leaf.take(odd.address, store=store, patience_s=0.3).run()
        assert whole(leaf)
        assert isinstance(done.failed[odd.address], PeerError)
        assert done.from_store == manifest.size
    finally:
        odd.close()


def test_nobody_at_the_address(host, store):
    """As of an agent that was killed."""
    manifest = version(store)
    gone, leaf = host(manifest), host(manifest)
    gone.server.close()
    for address in (gone.address, "nonsense", "127.0.0.1:none"):
        leaf.forget_all()
        assert list(leaf.take(address, store=store).run().failed) == [address]
        assert whole(leaf)


def test_a_superseded_exchange_stops_while_it_waits(host, store):
    """A peer has the rest on its way, for ever."""
    manifest = version(store)
    slow, leaf = host(manifest), host(manifest)
    slow.fill(store, [0])
    with pytest.raises(Superseded):
        leaf.take(slow.address, store=store, cancelled=lambda: leaf.present.snapshot()[0] != "").run()
    assert leaf.present.has(0, manifest.chunks[0])


def test_without_a_store_only_what_peers_have_already_is_taken(host, store):
    """Two that wait for each other would wait for long."""
    manifest = version(store)
    one, two = host(manifest), host(manifest)
    one.fill(store, [0, 3])
    two.fill(store, [5])
    store.given.clear()
    done = two.take(one.address, store=None).run()
    assert (done.from_store, done.from_peers) == (0, 2 * CHUNK)
    assert [index for index, digest in enumerate(two.present.snapshot()) if digest] == [0, 3, 5]
    assert one.take(two.address, store=None).run().from_peers == CHUNK
    assert store.given == []


def test_what_is_in_memory_does_not_travel(host, store):
    """One of the copies is corrupt: it comes from the peer. A chunk that occurs twice travels once."""
    manifest = publish_version(
        {"w": torch.zeros(4096)},
        VersionFacts(model="m", version=1, base_version=0, epoch=1, step=1, created_at=0),
        store=store,
        chunk_size=CHUNK,
    )
    seed, leaf = host(manifest), host(manifest)
    seed.fill(store)
    first, last = manifest.chunks[0], manifest.chunks[-1]
    resident = {first: seed.payload[:CHUNK], last: memoryview(bytes(manifest.size % CHUNK or CHUNK))}
    exchange = leaf.take(seed.address, store=store, resident=resident)
    done = exchange.run()
    assert leaf.present.holds(manifest.chunks)
    assert bytes(leaf.payload) == bytes(seed.payload)
    assert done.from_peers <= CHUNK + len(resident[last])


def test_what_nobody_can_give_is_left_to_the_pull(host, store):
    """Which says why."""
    manifest = version(store)
    leaf = host(manifest)
    lost = manifest.chunks[4]
    del store.chunks["m", lost]
    done = leaf.take(store=store).run()
    assert done.from_store == manifest.size - CHUNK
    assert leaf.present.snapshot()[4] == ""

    class Away(MemoryChunkStore):
        def get_into(self, model, digest, buffer):
            raise StoreUnavailable("away")

    leaf.forget_all()
    assert leaf.take(store=Away()).run().from_store == 0


@pytest.mark.parametrize(("theirs", "ours"), [(b"key", None), (b"key", b"other"), (None, b"key")])
def test_without_the_key_no_chunk_is_given_or_taken(host, store, theirs, ours):
    """Both sides prove that they have it."""
    manifest = version(store)
    seed, leaf = host(manifest, key=theirs), host(manifest)
    seed.fill(store)
    done = leaf.take(seed.address, store=store, key=ours).run()
    assert done.from_peers == 0
    assert seed.leases.served("m") == 0
    assert whole(leaf)


def test_with_the_key_they_are(host, store):
    """The same on both sides."""
    manifest = version(store)
    seed, leaf = host(manifest, key=b"key"), host(manifest)
    seed.fill(store)
    assert leaf.take(seed.address, store=store, key=b"key").run().from_peers == manifest.size


def test_more_connections_than_allowed_are_closed(host, store):
    """Whoever opened one takes the chunks elsewhere; when one ends, there is room again."""
    manifest = version(store)
    seed, leaf = host(manifest, limit=1), host(manifest)
    seed.fill(store)
    with contextlib.closing(PeerConnection(seed.address, patience_s=WAIT_S)):
        assert list(leaf.take(seed.address, store=store).run().failed) == [seed.address]
    assert whole(leaf)


def test_a_stranger_is_shown_the_door(host, store):
    """Something that speaks HTTP, say."""
    seed = host(version(store))
    where, port = seed.address.split(":")
    with socket.create_connection((where, int(port)), WAIT_S) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: there\r\n\r\n"[: wire.GREETING_SIZE])
        assert sock.recv(1) == b""


def test_writing_a_slot_interrupts_whoever_takes_too_long_to_read_it(host, store):
    """A connection that takes nothing must not keep a newer version from being written."""
    manifest = publish_version(
        {"w": torch.rand(8 << 20)},
        VersionFacts(model="m", version=1, base_version=0, epoch=1, step=1, created_at=0),
        store=store,
        chunk_size=32 << 20,
    )
    seed = host(manifest)
    store.get_into("m", manifest.chunks[0], seed.payload[: 32 << 20])
    seed.present.mark(0, manifest.chunks[0])
    with contextlib.closing(PeerConnection(seed.address, patience_s=WAIT_S)) as lazy:
        lazy._say(wire.request(manifest.chunks[:1]))
        assert lazy._read(wire.REPLY_HEAD_SIZE) == wire.reply(Kind.CHUNK, 0, 32 << 20)
        seed.leases.withdraw(seed.slot)  # returns
        with pytest.raises(PeerError, match="agent at"):
            lazy._fill(memoryview(bytearray(32 << 20)), WAIT_S)


@pytest.mark.parametrize(("server", "client"), [((b"old", b"new"), b"old"), ((b"new", b"old"), (b"old", b"new"))])
def test_agents_take_chunks_from_each_other_while_keys_are_rotated(server: wire.Keys, client: wire.Keys) -> None:
    shown = wire.proof(server, "server", b"n1", b"n2")
    wire.check_proof(shown, (b"old", b"new") if isinstance(client, bytes) else client, "server", b"n1", b"n2")
    wire.check_proof(wire.proof(client, "client", b"n1", b"n2"), server, "client", b"n1", b"n2")
    with pytest.raises(PeerError):
        wire.check_proof(wire.proof(b"other", "client", b"n1", b"n2"), server, "client", b"n1", b"n2")
