"""Chunks between agents over mutual TLS, on real sockets."""

import contextlib
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.runtime.access.tls import Certificates
from headrace.security.certificates import Authority, Pair
from headrace.weights.errors import PeerError
from headrace.weights.host.peers.client import PeerConnection
from headrace.weights.host.peers.server import PeerServer
from headrace.weights.host.peers.wire import Kind
from headrace.weights.stores.port import MemoryChunkStore
from tests.patience import WAIT_S
from tests.unit.weights.test_weights_peers import Host, version


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
def seed(ours: Authority) -> Iterator[Host]:
    """A host that has every chunk, and asks for certificates."""
    store = MemoryChunkStore()
    made = Host(version(store))
    made.fill(store)
    made.server.close()
    pair = ours.pair("seed")
    made.server = PeerServer(made.leases, tls=Certificates(pair.certificate, pair.key, ours.file).context)
    made.address = f"127.0.0.1:{made.server.open('127.0.0.1')}"
    with contextlib.closing(made.server):
        yield made


def trusting(authority: Authority, own: Pair | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.file)
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context


def test_an_agent_with_a_certificate_takes_every_chunk(seed: Host, ours: Authority) -> None:
    buffers = {digest: memoryview(bytearray(len(seed.payload))) for digest in set(seed.manifest.chunks)}
    sizes = {digest: view for digest in buffers if (view := seed.leases._find(digest)[1])}
    wanted = [(digest, buffers[digest][: len(sizes[digest].data)]) for digest in buffers]
    with contextlib.closing(
        PeerConnection(seed.address, tls=trusting(ours, ours.pair("other")), patience_s=WAIT_S)
    ) as peer:
        kinds = {index: kind for index, kind in peer.take("m", wanted) if kind is not Kind.WAIT}
    assert set(kinds.values()) == {Kind.CHUNK}
    assert len(kinds) == len(wanted)
    assert all(bytes(view) == bytes(sizes[digest].data) for digest, view in wanted)


def ask(seed: Host, context: ssl.SSLContext | None) -> None:
    with contextlib.closing(PeerConnection(seed.address, tls=context, patience_s=WAIT_S)) as peer:
        for _ in peer.take("m", [(seed.manifest.chunks[0], memoryview(bytearray(64)))]):
            pytest.fail("a stranger was answered")


def test_strangers_get_nothing(seed: Host, ours: Authority, tmp_path: Path) -> None:
    others = Authority(tmp_path / "others")
    for context in (None, trusting(ours, None), trusting(ours, others.pair("stranger")), trusting(others, None)):
        with pytest.raises(PeerError):
            ask(seed, context)


def test_a_server_that_closes_and_a_taker_that_gives_up_end_their_threads(seed: Host, ours: Authority) -> None:
    seed.forget_all()  # so that the taker waits
    context = trusting(ours, ours.pair("other"))
    peer = PeerConnection(seed.address, tls=context, patience_s=WAIT_S)
    digest = seed.manifest.chunks[0]
    size = min(len(seed.payload), seed.manifest.chunk_size)
    ended = threading.Event()

    def take() -> None:
        with contextlib.suppress(PeerError):
            for _ in peer.take("m", [(digest, memoryview(bytearray(size)))]):
                pass
        ended.set()

    taking = threading.Thread(target=take, daemon=True)
    taking.start()
    peer.abort()
    assert ended.wait(WAIT_S)
    peer.close()
    seed.server.close()  # joins every thread that serves
