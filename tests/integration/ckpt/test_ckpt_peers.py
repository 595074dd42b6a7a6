"""Agents that take chunks from each other.

Real processes, a real Kafka, and a Valkey behind a narrow pipe of its own.
"""

import dataclasses
import os
import zlib

import pytest
import torch
from confluent_kafka import TopicPartition
from torch import nn

from benchmarks.weights.throttle import Throttle
from headrace.contracts.events_pb2 import RolloutDirective
from headrace.contracts.topics import ROLLOUTS, model_partition
from headrace.platform.valkey import EmbeddedValkey
from headrace.rollouts.feed import parse
from headrace.runtime import kafka as clients
from headrace.weights import VersionFacts, agent_socket, open_store, publish_version
from headrace.weights.format.slot_header import PAYLOAD_START
from headrace.weights.host.slots import SHM_ROOT
from tests.integration.ckpt.fleet import Applied, make_fleet
from tests.patience import WAIT_S, wait_for

LAYERS, SIDE = 6, 1024  # 24 MiB in 7 chunks
FAST, SLOW = 1e9, 12e6
TREE = ("--peer-min-bytes", "1", "--peer-fan-out", "2")


def build():
    return nn.ModuleList(nn.Linear(SIDE, SIDE, bias=False) for _ in range(LAYERS))


class Hosts:
    """A fleet of several hosts on this machine: a folder, an agent and a worker each; and its store."""

    def __init__(self, fleet, store_url):
        self.fleet = fleet
        self.store_url = store_url
        self.states = {}
        self.throttle = None

    def narrow(self, bytes_per_s):
        """Let agents that start from now on reach the store through a pipe of so many bytes/s."""
        self.throttle = Throttle(self.store_url, bytes_per_s)
        return self.throttle

    def agent(self, name, *flags, url=""):
        """A host's agent."""
        where = self.fleet.folder / name
        self.fleet.env["REDIS_URL"] = url or (self.throttle.url if self.throttle else self.store_url)
        return self.fleet.agent(name, "--run-dir", str(where), *flags)

    def worker(self, name):
        """A host's worker."""
        settings = self.fleet.settings.model_copy(update={"run_dir": self.fleet.folder / name})
        return dataclasses.replace(self.fleet, settings=settings).local(f"worker of {name}", build=build)

    def join(self, name, *flags):
        self.agent(name, *flags)
        return self.worker(name)

    def publish(self, version):
        """All of it changes."""
        self.states[version] = {f"{n}.weight": torch.rand(SIDE, SIDE) for n in range(LAYERS)}
        store = open_store(self.fleet.settings)
        manifest = publish_version(
            self.states[version],
            VersionFacts(model=self.fleet.model, version=version, base_version=version - 1, epoch=1, step=version),
            store=store,
        )
        store.close()
        self.fleet.announce(manifest)
        return manifest

    def serve(self, version, *workers):
        """Every worker serves it, bit for bit."""
        for worker in workers:
            network = worker.expect(version).network
            for n in range(LAYERS):
                assert torch.equal(network[n].weight, self.states[version][f"{n}.weight"])

    def plan(self, version):
        """The plan in a version's STAGE directive."""
        consumer = clients.consumer(self.fleet.settings, f"test-{os.urandom(4).hex()}")
        partition = TopicPartition(ROLLOUTS.name(), model_partition(self.fleet.model), 0)
        consumer.assign([partition])
        try:
            while True:
                message = consumer.poll(WAIT_S)
                assert message is not None, f"no STAGE of version {version}"
                directive = RolloutDirective()
                if not parse(message, directive):
                    continue  # another test's, on purpose
                if (directive.model, directive.action, directive.version) == (
                    self.fleet.model,
                    RolloutDirective.STAGE,
                    version,
                ):
                    return directive.peers if directive.HasField("peers") else None
        finally:
            consumer.close()


@pytest.fixture
def hosts(kafka, tmp_path):
    valkey = EmbeddedValkey(tmp_path / "valkey")
    valkey.launch()
    valkey.wait_ready()
    fleet = make_fleet(kafka, valkey.address, tmp_path)
    made = Hosts(fleet, valkey.address)
    yield made
    fleet.close()
    if made.throttle is not None:
        made.throttle.close()
    valkey.stop()


def staged(applied, version, count):
    """The reports of workers that staged it, by agent."""
    return {report.agent: report for report in (applied.expect("STAGED", version) for _ in range(count))}


@pytest.fixture
def told(hosts):
    made = Applied(hosts.fleet)
    yield made
    made.close()


def test_a_rollout_reads_the_store_once_for_the_whole_fleet(hosts, told):
    """Three hosts; the store gives one payload, not three. One host alone has no plan, and takes all from the store."""
    hosts.fleet.coordinator("coordinator", *TREE)
    pipe = hosts.narrow(FAST)
    workers = [hosts.join("one")]
    first = hosts.publish(1)
    hosts.serve(1, *workers)
    assert hosts.plan(1) is None
    assert told.expect("STAGED", 1).bytes_from_peers == 0
    workers += [hosts.join(name) for name in ("two", "three")]
    hosts.serve(1, *workers[1:])
    hosts.fleet.counts(3)
    before = pipe.passed
    second = hosts.publish(2)
    hosts.serve(2, *workers)
    assert {member.agent for member in hosts.plan(2).members} == {"one", "two", "three"}
    reports = staged(told, 2, 3)
    assert all(report.bytes_pulled == second.size for report in reports.values())
    from_store = sum(report.bytes_pulled - report.bytes_from_peers for report in reports.values())
    assert from_store == second.size
    assert second.size <= pipe.passed - before < 1.1 * second.size
    assert first.size == second.size


def test_a_peer_killed_in_the_middle_is_done_without(hosts, told):
    """Everybody takes everything from it, by the plan; the others get the rest elsewhere, and are exact."""
    hosts.fleet.coordinator("coordinator", *TREE, "--peer-stripes", "1", "--quorum", "2", "--worker-ttl-s", "60")
    hosts.publish(1)
    pipe = hosts.narrow(SLOW)
    agents = {name: hosts.agent(name, url=hosts.store_url) for name in ("two", "three")}
    workers = {name: hosts.worker(name) for name in agents}
    # The version's number decides who is the root: of version 3, with three agents, the first by name.
    agents["one"] = hosts.agent("one")
    workers["one"] = hosts.worker("one")
    hosts.serve(1, *workers.values())
    hosts.fleet.counts(3)
    hosts.publish(3)
    assert hosts.plan(3).members[0].agent == "one"
    before = pipe.passed
    wait_for(lambda: pipe.passed - before >= 10 << 20)  # two chunks of its seven are there, and passed on
    agents["one"].kill()
    hosts.serve(3, workers["two"], workers["three"])
    reports = staged(told, 3, 2)
    assert set(reports) == {"two", "three"}
    assert sum(report.bytes_from_peers for report in reports.values()) > 0


def test_a_peer_that_serves_wrong_bytes_harms_nobody(hosts, told):
    """A bit of every chunk in an agent's shared memory flips; one that joins later takes none of it."""
    hosts.fleet.coordinator("coordinator", *TREE)
    workers = [hosts.join("one"), hosts.join("two")]
    hosts.publish(1)
    hosts.serve(1, *workers)
    hosts.fleet.counts(2)
    hosts.publish(2)
    hosts.serve(2, *workers)
    staged(told, 2, 2)
    for name in ("one", "two"):
        corrupt(agent_socket(hosts.fleet.settings.model_copy(update={"run_dir": hosts.fleet.folder / name})))
    late = hosts.join("late")
    hosts.serve(2, late)
    report = told.expect("STAGED", 2)
    assert report.agent == "late"
    assert report.bytes_from_peers == 0
    assert "is corrupt" in (hosts.fleet.folder / "late.log").read_text()


def corrupt(socket_path):
    """Flip a bit of each chunk that an agent's slots hold."""
    run = f"{zlib.crc32(str(socket_path).encode()):08x}"
    (folder,) = [path for path in SHM_ROOT.iterdir() if path.name.startswith(f"headrace-{os.getuid()}-{run}-")]
    for slot in folder.glob("slot-*"):
        with slot.open("r+b") as file:
            for at in range(PAYLOAD_START, slot.stat().st_size, 4 << 20):
                byte = os.pread(file.fileno(), 1, at)[0]
                os.pwrite(file.fileno(), bytes([byte ^ 1]), at)
