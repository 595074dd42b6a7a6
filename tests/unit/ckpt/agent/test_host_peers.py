"""One host's slots, filled from another's by a plan, over loopback."""

import os

import pytest
import torch

from headrace.contracts.events_pb2 import RolloutDirective
from headrace.weights import MemoryChunkStore, VersionFacts, publish_version
from headrace.weights.host.peers.chunk_leases import ChunkLeases
from headrace.weights.host.peers.routes import Member, Plan
from services.ckpt.agent.pulling.peers import Peers
from services.ckpt.agent.pulling.slots import HostSlots
from services.ckpt.agent.settings import AgentSettings
from tests.slot_kit import map_tensors

CHUNK = 1024


class Host:
    """An agent's slots, and its part among agents."""

    def __init__(self, name, store, root, key=None):
        self.name = name
        self.leases = ChunkLeases()
        self.peers = Peers(AgentSettings(instance=name, host_name="here", peer_patience_s=20.0), self.leases, key)
        self.slots = HostSlots(store, name, limit=3, parallel=2, root=root, peers=self.peers, leases=self.leases)
        self.address = self.peers.open()

    def fill(self, manifest, plan=None, keep=()):
        return self.slots.fill(manifest, set(keep), bool, self.peers.routes(plan))

    def close(self):
        self.peers.close()
        self.slots.close()


@pytest.fixture
def store():
    return MemoryChunkStore()


@pytest.fixture
def host(store, tmp_path):
    made = []

    def make(name, **more):
        made.append(Host(name, more.pop("store", store), tmp_path, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def version(number, store, changed=4096):
    weight = torch.arange(4096.0)
    weight[:changed] += number
    return publish_version(
        {"w": weight},
        VersionFacts(model="m", version=number, base_version=number - 1, epoch=1, step=1, created_at=0),
        store=store,
        chunk_size=CHUNK,
    )


def plan(*hosts, min_bytes=0):
    members = [Member(agent=host.name, address=host.address, host="here") for host in hosts]
    return Plan(members=members, fan_out=2, stripes=1, min_bytes=min_bytes)


def test_a_host_takes_a_version_from_the_one_above(host, store):
    """Its store has nothing; the root's has."""
    root, leaf = host("root"), host("leaf", store=MemoryChunkStore())
    manifest = version(1, store)
    _, first = root.fill(manifest, plan(root, leaf))
    path, second = leaf.fill(manifest, plan(root, leaf))
    assert (first.bytes_pulled, first.bytes_from_peers) == (manifest.size, 0)
    assert (second.bytes_pulled, second.bytes_from_peers, second.bytes_reused) == (manifest.size, manifest.size, 0)
    assert map_tensors(path, manifest, manifest.digest)["w"][0] == 1
    assert root.leases.served("m") == manifest.size


def test_what_it_lacks_may_be_too_little_to_ask_for(host, store):
    """Of the second version two chunks changed."""
    root, leaf = host("root"), host("leaf")
    one, two = version(1, store, changed=10), version(2, store, changed=10)
    for manifest, peers in ((one, one.size), (two, 0)):
        root.fill(manifest, plan(root, leaf, min_bytes=4 * CHUNK))
        _, pulled = leaf.fill(manifest, plan(root, leaf, min_bytes=4 * CHUNK), [one.digest])
        assert pulled.bytes_from_peers == peers
    assert 0 < pulled.bytes_pulled <= 2 * CHUNK


def test_a_recycled_slot_serves_its_new_version_only(host, store):
    """What was there before is gone for others too."""
    root = host("root")
    versions = [version(number, store) for number in range(1, 5)]
    for manifest in versions:
        root.fill(manifest)
    kept = [all(root.leases.has(digest) for digest in manifest.chunks) for manifest in versions]
    gone = [any(root.leases.has(digest) for digest in manifest.chunks[1:-1]) for manifest in versions]
    assert kept[-1]
    assert not gone[0]


def test_a_successor_serves_what_the_agent_before_had_pulled(host, store, tmp_path):
    """It adopts the slots of its name."""
    manifest = version(1, store)
    dead = HostSlots(store, "root", limit=3, parallel=2, root=tmp_path)
    dead.fill(manifest, set(), bool)
    (pool,) = dead._pools.values()
    for slot in pool._slots:
        slot.close()
    os.close(pool._owner)
    root, leaf = host("root"), host("leaf", store=MemoryChunkStore())
    assert root.fill(manifest)[1].bytes_pulled == 0
    assert leaf.fill(manifest, plan(root, leaf))[1].bytes_from_peers == manifest.size


def test_who_served_wrong_bytes_is_not_asked_again(host, store):
    """For a while, the next versions come from the store."""
    root, leaf = host("root"), host("leaf")
    one, two = version(1, store), version(2, store)
    path, _ = root.fill(one)
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), b"\xff" * CHUNK, 4096)
    assert leaf.fill(one, plan(root, leaf))[1].bytes_from_peers == 0
    root.fill(two, plan(root, leaf))
    assert leaf.fill(two, plan(root, leaf))[1].bytes_from_peers == 0
    assert root.address in leaf.peers._shunned


def test_without_a_plan_there_are_no_routes(host):
    """And everything comes from the store."""
    root = host("root")
    assert root.peers.routes(None) is None
    assert root.peers.routes(RolloutDirective.Peers()) is None


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"host": "127.0.0.1"}, "127.0.0.1:"),
        ({"host": "0.0.0.0", "host_name": "node-7"}, "node-7:"),
        ({"host": "0.0.0.0", "peer_host": "10.1.2.3"}, "10.1.2.3:"),
        ({"host": "127.0.0.1", "peer_host": "fd00::7"}, "[fd00::7]:"),
    ],
)
def test_the_address_that_others_are_told(settings, expected):
    """What it listens on, unless that is everything, or somebody knows better."""
    peers = Peers(AgentSettings(instance="a", **settings), ChunkLeases(), None)
    try:
        assert peers.open().startswith(expected)
    finally:
        peers.close()
