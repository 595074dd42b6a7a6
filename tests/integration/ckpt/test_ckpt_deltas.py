"""Deltas from a trainer's publishing to a worker's network.

Real Kafka, Redis, shared storage, coordinator and agent.
"""

import time

import torch
from torch import nn

from headrace.weights import VersionFacts, open_store, publish_version
from headrace.weights.publish.lineage import Lineage
from tests.patience import WAIT_S

ROWS, WIDTH = 40_000, 64


def rows(version):
    """10 MB, of which 1 % changes with every version."""
    weight = torch.arange(float(ROWS)).repeat(WIDTH, 1).T.contiguous()
    for n in range(2, version + 1):
        weight[n::100] += n
    return weight


class Trainer:
    """Publishes version after version, as the trainer does."""

    def __init__(self, fleet):
        self._fleet, self.store, self._lineage = fleet, open_store(fleet.settings), Lineage(anchor_every=7)
        self.version = 0

    def publish(self):
        self.version += 1
        manifest = publish_version(
            {"rows.weight": rows(self.version)},
            VersionFacts(
                model=self._fleet.model, version=self.version, base_version=self.version - 1, epoch=1, step=self.version
            ),
            store=self.store,
            lineage=self._lineage,
        )
        self._fleet.announce(manifest)
        return manifest


def served(worker, version):
    return torch.equal(worker.expect(version).network["rows"].weight, rows(version))


def test_versions_reach_a_worker_by_deltas_over_sweeps_skips_and_an_agent_that_is_killed(fleet, applied):
    """A late joiner takes the anchor and all deltas, whoever follows takes one, and the next anchor changes nothing."""
    trainer, stray = Trainer(fleet), "0" * 32
    trainer.store.put(fleet.model, stray, b"nobody refers to this")
    fleet.coordinator("coordinator", "--keep-versions", "2", "--sweep-every-s", "0.1", "--sweep-grace-s", "3")
    anchor, _, _, fourth = (trainer.publish() for _ in range(4))
    deadline = time.monotonic() + WAIT_S
    while not trainer.store.claim(fleet.model, [stray]):
        assert time.monotonic() < deadline, "never swept"
        time.sleep(3.2)  # a claim makes it young again: for longer than the grace

    agent = fleet.agent()
    worker = fleet.local("w", build=lambda: nn.ModuleDict({"rows": nn.Embedding(ROWS, WIDTH)}))
    assert served(worker, 4)
    assert applied.expect("ACTIVE", 4).bytes_pulled == anchor.size + fourth.delta.size

    fifth = trainer.publish()
    assert served(worker, 5)
    link = fifth.delta.links[-1].size
    assert applied.expect("ACTIVE", 5).bytes_pulled == link < fifth.size / 50

    agent.kill()
    trainer.publish()
    seventh = trainer.publish()
    fleet.agent()
    assert served(worker, 7)
    assert applied.expect("ACTIVE", 7).bytes_pulled <= seventh.delta.links[-1].size + seventh.delta.links[-2].size

    eighth = trainer.publish()
    assert not eighth.delta
    assert served(worker, 8)
    ninth = trainer.publish()
    assert served(worker, 9)
    assert applied.expect("ACTIVE", 9).bytes_pulled == ninth.delta.size == ninth.delta.links[0].size
    trainer.store.close()
