"""From a published checkpoint to every worker serving it, through real Kafka, real Redis and real processes."""

import json
import time
import zlib
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from typer.testing import CliRunner

from headrace.cli.catalogue import application
from headrace.contracts.events_pb2 import Operation
from headrace.weights import VersionFacts, agent_socket, open_store, publish_version
from tests.patience import WAIT_S


def test_a_published_version_reaches_every_worker_process_and_no_request_fails(fleet):
    """Two workers behind one agent serve each version in turn, and every answer is of the version that it names."""
    fleet.coordinator()
    fleet.agent()
    workers = [fleet.worker("w1"), fleet.worker("w2")]
    for version in (1, 2, 3):
        manifest = fleet.publish(version)
        for worker in workers:
            assert worker.expect(version=version)["checkpoint"] == manifest.digest
    for worker in workers:
        assert worker.stop() == 0
        assert worker.expect(wrong=0)["requests"] > 0


def test_rolling_back_pins_and_resuming_goes_to_the_newest(fleet, applied):
    """While pinned, new versions are remembered and not rolled out."""
    fleet.coordinator()
    fleet.agent()
    worker = fleet.local("w")
    for version in (1, 2):
        fleet.publish(version)
        worker.expect(version)
    fleet.operate(Operation.ROLL_BACK)
    bound = worker.expect(1)
    assert worker.answer() == (1, 1)
    assert bound.manifest.version == 1
    refused = CliRunner().invoke(
        application(), ["rollback", fleet.model, "--to", "77", "--kafka", fleet.settings.kafka_bootstrap_servers]
    )
    assert refused.exit_code == 2
    assert "version 77 is newer than the active 1" in refused.output
    fleet.publish(3)
    fleet.publish(4)
    fleet.operate(Operation.RESUME)
    assert worker.expect(4).version == 4
    assert applied.expect("ACTIVE", 4).worker == "w"


def test_a_late_joiner_serves_the_fleets_version_and_reports_every_step(fleet, applied):
    """Nobody was there when the version was activated."""
    fleet.coordinator()
    fleet.publish(1)
    manifest = fleet.publish(2)
    fleet.agent()
    worker = fleet.local("late")
    assert applied.expect("JOINED", 0).role == "test"
    staged = applied.expect("STAGED", 2)
    assert staged.manifest_digest == manifest.digest
    assert {"pull", "map", "stage", "warm_up"} - staged.seconds.keys() <= {"warm_up"}
    active = applied.expect("ACTIVE", 2)
    assert active.bytes_pulled == manifest.size
    assert applied.expect("HEARTBEAT", 2).agent == "agent"
    assert worker.answer() == (2, 2)
    worker.live.stop()
    assert applied.expect("LEFT", 2).worker == "late"


def test_of_a_version_only_the_chunks_that_changed_travel(fleet, applied):
    """Three layers of 8 MB, one of which was trained: the agent copies the others from the slot that still serves."""
    fleet.coordinator()
    fleet.agent()
    worker = fleet.local("w", build=lambda: nn.ModuleList(nn.Linear(1024, 2048, bias=False) for _ in range(3)))
    state = {f"{i}.weight": torch.rand(2048, 1024) for i in range(3)}
    store = open_store(fleet.settings)
    for version in (1, 2, 3):
        state["2.weight"] = state["2.weight"] + 1
        manifest = publish_version(
            state,
            VersionFacts(model=fleet.model, version=version, base_version=version - 1, epoch=1, step=version),
            store=store,
        )
        fleet.announce(manifest)
        served = worker.expect(version).network
        assert all(torch.equal(served[i].weight, state[f"{i}.weight"]) for i in range(3))
        pulled = applied.expect("ACTIVE", version).bytes_pulled
        assert pulled == manifest.size if version == 1 else 8e6 < pulled <= 16 << 20
    store.close()


def test_processes_stop_in_order_and_leave_nothing_behind(fleet):
    """Exit code 0, no socket, no shared memory."""
    coordinator, agent = fleet.coordinator(), fleet.agent()
    worker = fleet.local("w")
    fleet.publish(1)
    bound = worker.expect(1)
    assert coordinator.stop() == 0
    assert agent.stop() == 0
    assert bound.network is not None
    assert worker.answer() == (1, 1)
    assert not (fleet.folder / "agent.sock").exists()
    run = f"{zlib.crc32(str(agent_socket(fleet.settings)).encode()):08x}"
    assert not [path for path in Path("/dev/shm").iterdir() if run in path.name]


def test_chunks_that_no_kept_version_refers_to_are_removed(fleet):
    """Two versions are kept; of four, the chunks of the older ones go, and what serves stays available."""
    fleet.coordinator("coordinator", "--keep-versions", "2", "--sweep-every-s", "0.1", "--sweep-grace-s", "3")
    fleet.agent()
    worker = fleet.local("w")
    for version in (1, 2, 3, 4):
        last = fleet.publish(version)
        worker.expect(version)
    chunks = fleet.folder / "storage" / fleet.model / "chunks"
    deadline = time.monotonic() + WAIT_S
    while len(left := {path.name for path in chunks.rglob("*") if path.is_file()}) > 2:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    assert set(last.chunks) <= left
    fleet.operate(Operation.ROLL_BACK)
    worker.expect(3)


def test_several_models_live_in_one_worker_and_are_rolled_out_each_on_its_own(fleet):
    """One process, two connections to the agent under one name: what is done to the one moves nothing of the other."""
    fleet.coordinator()
    fleet.agent()
    other = replace(fleet, model=f"{fleet.model}.next")
    champion, shadow = fleet.local("w"), other.local("w")
    for version in (1, 2):
        fleet.publish(version)
        champion.expect(version)
    for version in (1, 2, 3):
        other.publish(version)
        shadow.expect(version)
    other.operate(Operation.ROLL_BACK)
    shadow.expect(2)
    fleet.publish(3)
    champion.expect(3)
    assert (champion.answer(), shadow.answer()) == ((3, 3), (2, 2))
    told = CliRunner().invoke(
        application(), ["ckpt", "status", fleet.model, "--json", "--kafka", fleet.settings.kafka_bootstrap_servers]
    )
    active = json.loads(told.stdout)["active"]
    assert {name: (said["version"], said["pinned"]) for name, said in active.items()} == {
        fleet.model: (3, False),
        other.model: (2, True),
    }
    champion.live.stop()
    other.operate(Operation.RESUME)
    shadow.expect(3)
