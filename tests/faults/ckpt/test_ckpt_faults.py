"""What may go wrong between a trainer and a worker, done to real processes: serving never stops, and it heals."""

import signal
import socket

import redis
import torch

from headrace.contracts.events_pb2 import Operation
from headrace.contracts.topics import CHECKPOINTS, model_partition
from headrace.platform.valkey import EmbeddedValkey
from headrace.weights import agent_socket, checkpoint_event, open_store
from headrace.weights.wire import Hello, Stage, frame, receive
from tests.integration.ckpt.fleet import WAIT_S


def chunk_files(fleet):
    return [path for path in (fleet.folder / "storage" / fleet.model / "chunks").rglob("*") if path.is_file()]


def forget_in_redis(fleet, redis_url):
    """As an eviction or a flush would, for this model only."""
    client = redis.Redis.from_url(redis_url)
    for key in client.scan_iter(f"headrace:{{{fleet.model}}}*"):
        client.delete(key)
    client.close()


def test_an_agent_killed_in_the_middle_of_a_rollout_is_replaced(fleet):
    """Its workers keep serving, connect to its successor, and the rollout goes on."""
    fleet.coordinator("coordinator", "--stage-timeout-s", "20")
    agent = fleet.agent()
    workers = [fleet.local("w1"), fleet.local("w2")]
    fleet.publish(1)
    for worker in workers:
        worker.expect(1)
    agent.kill()
    fleet.publish(2)
    assert [worker.answer() for worker in workers] == [(1, 1), (1, 1)]
    fleet.agent()
    for worker in workers:
        worker.expect(2)
        assert worker.answer() == (2, 2)
    fleet.publish(3)
    for worker in workers:
        worker.expect(3)


def test_a_coordinator_killed_while_a_version_is_staged_is_replaced(fleet, applied):
    """Its successor knows what was decided, and activates what the workers have staged."""
    coordinator = fleet.coordinator()
    fleet.agent()
    worker = fleet.local("w")
    fleet.publish(1)
    worker.expect(1)
    coordinator.child.send_signal(signal.SIGSTOP)
    fleet.publish(2)
    coordinator.kill()
    successor = fleet.coordinator()
    worker.expect(2)
    applied.expect("ACTIVE", 2)
    successor.kill()
    fleet.operate(Operation.ROLL_BACK)
    fleet.coordinator()
    worker.expect(1)
    assert worker.answer() == (1, 1)


def test_a_standby_coordinator_takes_over(fleet):
    """Whoever is left has all partitions."""
    first = fleet.coordinator("coordinator", "--session-timeout-s", "6")
    fleet.agent()
    worker = fleet.local("w")
    fleet.publish(1)
    worker.expect(1)
    fleet.coordinator("standby", "--session-timeout-s", "6")
    first.kill()
    fleet.publish(2)
    worker.expect(2)


def test_a_corrupt_chunk_is_refused_everywhere_and_the_old_version_goes_on(fleet, redis_url, applied):
    """Neither store has the bytes that the manifest names: the version is retired, and the next one is served."""
    fleet.coordinator()
    fleet.agent()
    worker = fleet.local("w")
    fleet.publish(1)
    worker.expect(1)
    before = set(chunk_files(fleet))
    store = open_store(fleet.settings)
    manifest = fleet.put(2, store)
    store.close()
    (chunk,) = set(chunk_files(fleet)) - before
    chunk.write_bytes(bytes(len(chunk.read_bytes())))
    forget_in_redis(fleet, redis_url)
    fleet.announce(manifest)
    failed = applied.expect("FAILED", 2)
    assert "corrupt" in failed.error
    assert worker.answer() == (1, 1)
    fleet.publish(3)
    worker.expect(3)


def test_chunks_lost_from_redis_come_from_shared_storage_and_are_put_back(fleet, redis_url):
    """A flush between the event and the pull."""
    fleet.coordinator()
    fleet.agent()
    worker = fleet.local("w")
    store = open_store(fleet.settings)
    manifest = fleet.put(1, store)
    store.close()
    forget_in_redis(fleet, redis_url)
    fleet.announce(manifest)
    worker.expect(1)
    client = redis.Redis.from_url(redis_url)
    assert client.exists(f"headrace:{{{fleet.model}}}:{manifest.chunks[0]}")
    client.close()


def test_without_redis_everything_goes_through_shared_storage(fleet, tmp_path):
    """It dies while the fleet runs; versions go on, and it is used again when it is back."""
    server = EmbeddedValkey(tmp_path / "valkey")
    server.launch()
    server.wait_ready()
    port = int(server.address.split(":")[2].split("/")[0])
    fleet.use_redis(server.address)
    try:
        fleet.coordinator()
        fleet.agent()
        worker = fleet.local("w")
        fleet.publish(1)
        worker.expect(1)
        server.stop()
        fleet.publish(2)
        worker.expect(2)
        server = EmbeddedValkey(tmp_path / "valkey", port=port)
        server.launch()
        server.wait_ready()
        fleet.publish(3)
        worker.expect(3)
    finally:
        server.stop()


def test_nan_weights_are_refused_by_the_workers(fleet, applied):
    """They were published, pulled and verified; no worker serves them."""
    fleet.coordinator()
    fleet.agent()
    worker = fleet.local("w")
    fleet.publish(1)
    worker.expect(1)
    fleet.publish(2, weight=float("nan"))
    assert "NonFinite" in applied.expect("FAILED", 2).error
    fleet.publish(3)
    worker.expect(3)
    assert worker.answer() == (3, 3)


def test_duplicates_late_versions_zombie_trainers_and_junk_change_nothing(fleet):
    """The next good version is served after all of them."""
    fleet.coordinator()
    fleet.agent()
    worker = fleet.local("w")
    first = fleet.publish(5, epoch=2)
    worker.expect(5)
    fleet.announce(first)
    fleet.publish(4, epoch=2)
    fleet.publish(6, epoch=1)
    fleet.producer.produce(CHECKPOINTS.name(), b"\xff junk", partition=model_partition(fleet.model))
    fleet.producer.produce(CHECKPOINTS.name(), None, partition=model_partition(fleet.model))
    fleet.producer.flush(WAIT_S)
    fleet.publish(7, epoch=2)
    worker.expect(7)
    assert worker.changes.empty()


def test_a_worker_of_another_network_is_told_and_the_others_go_on(fleet, applied):
    """With a quorum that bears it."""
    fleet.coordinator("coordinator", "--quorum", "1")
    fleet.agent()
    good = fleet.local("good")
    fleet.local("odd", build=lambda: torch.nn.Linear(3, 1))
    applied.expect("JOINED", 0)
    applied.expect("JOINED", 0)
    fleet.publish(1)
    good.expect(1)
    assert "schema" in applied.expect("FAILED", 1).error


def test_a_worker_that_dies_while_it_stages_is_not_waited_for(fleet, applied):
    """Its connection ends; the others go on at once."""
    fleet.coordinator("coordinator", "--stage-timeout-s", "300")
    fleet.agent()
    worker = fleet.local("w")
    fleet.publish(1)
    schema = worker.expect(1).manifest.schema_hash
    with socket.socket(socket.AF_UNIX) as dying:
        dying.connect(str(agent_socket(fleet.settings)))
        dying.sendall(frame(Hello("dying", "test", fleet.model, schema, 1)))
        applied.expect("JOINED", 0)
        fleet.publish(2)
        while not isinstance(receive(dying), Stage):
            pass
        applied.expect("STAGED", 2)
    worker.expect(2)


def test_unsigned_and_wrongly_signed_versions_are_refused(fleet, applied):
    """The agent has a key: only what was signed with it is served."""
    fleet.env["HEADRACE_SIGNING_KEY"] = "right"
    fleet.coordinator()
    fleet.agent()
    worker = fleet.local("w")
    store = open_store(fleet.settings)
    for version, key in ((1, None), (2, b"wrong"), (3, b"right")):
        event = checkpoint_event(fleet.put(version, store), signing_key=key)
        fleet.send(event)
        if key == b"right":
            assert worker.expect(3).version == 3
        else:
            assert "sign" in applied.expect("FAILED", version).error
            assert worker.live.version == 0
    store.close()
