"""The documented client, examples/weights_client.py, run as its reader would, against a real fleet."""

import subprocess
import sys
import threading

import pytest

from headrace.contracts.events_pb2 import Operation
from headrace.weights import Manifest, MemoryChunkStore, NotReady, subscribe
from headrace.weights.stores.shared_storage import SharedStorageChunkStore
from tests.integration.ckpt.heat import EXAMPLE, NETWORK, release
from tests.patience import WAIT_S, wait_for


class Client:
    """The example in a process of its own."""

    def __init__(self, fleet, name: str, *flags: str) -> None:
        self.log = fleet.folder / f"{name}.log"
        with self.log.open("w") as errors:
            self.child = subprocess.Popen(
                [
                    *(sys.executable, "-W", "error::UserWarning", str(EXAMPLE)),
                    *("--model", fleet.model, "--versions", "3", *flags),
                ],
                env={**fleet.env, "REDIS_URL": ""}, stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip

    def expect(self, manifest: Manifest, answer: float) -> None:
        watch = threading.Timer(WAIT_S, self.child.kill)
        watch.start()
        line = self.child.stdout.readline().strip()
        watch.cancel()
        expected = f"version {manifest.version} checkpoint {manifest.digest} answers {answer:.6f}"
        assert line == expected, self.log.read_text()[-3000:]

    def close(self) -> None:
        self.child.kill()
        self.child.wait(WAIT_S)
        self.child.stdout.close()


@pytest.fixture
def start(fleet):
    """Starts clients, and ends those that a failed test leaves."""
    started = []
    yield lambda *flags: started.append(Client(fleet, *flags)) or started[-1]
    for client in started:
        client.close()


def test_the_example_answers_with_every_version_that_the_fleet_activates(fleet, start):
    """Beside an agent and without one; a roll back is followed as well. It needs no settings but its flags."""
    fleet.coordinator()
    fleet.agent()
    first = release(fleet, 1)
    beside = start("beside", "--agent", str(fleet.folder))
    alone = start(
        "alone", "--kafka", fleet.settings.kafka_bootstrap_servers, "--redis", fleet.settings.redis_url,
        "--storage", (fleet.folder / "storage").as_uri(),
    )  # fmt: skip
    clients = (beside, alone)
    for client in clients:
        client.expect(*first)
    second = release(fleet, 2)
    for client in clients:
        client.expect(*second)
    fleet.operate(Operation.ROLL_BACK)
    for client in clients:
        client.expect(*first)
    for client in clients:
        assert client.child.wait(WAIT_S) == 0
        assert client.log.read_text() == ""


def test_a_client_alone_keeps_what_it_has_when_it_cannot_take_a_version(fleet):
    """Another network's, or one whose chunks are gone: it says why, and takes the next one that it can."""
    fleet.coordinator()
    first, _ = release(fleet, 1)
    storage = fleet.folder / "storage"
    with subscribe(
        fleet.model, NETWORK(), kafka=fleet.settings.kafka_bootstrap_servers, storage=storage, timeout=WAIT_S
    ) as weights:
        assert weights.version == 1
        fleet.publish(2)  # another network's
        wait_for(lambda: "IncompatibleWeights" in weights.error)
        with weights.lease() as bound:
            assert bound.checkpoint == first.digest
        elsewhere, here = MemoryChunkStore(), SharedStorageChunkStore(storage)
        release(fleet, 3, elsewhere)
        wait_for(lambda: "ChunkMissing" in weights.error)
        for (model, digest), chunk in elsewhere.chunks.items():
            here.put(model, digest, chunk)
        wait_for(lambda: weights.version == 3)
        assert weights.error == ""


def test_a_client_without_a_version_says_what_to_look_at(fleet, tmp_path):
    """No agent, no version, no broker: which of them it is."""
    kafka = fleet.settings.kafka_bootstrap_servers
    for where, timeout, reason in (
        ({"agent": tmp_path}, 0.1, "no agent answers"),
        ({"kafka": kafka, "storage": tmp_path}, 1.5, "was a version activated"),
        ({"kafka": "127.0.0.1:1", "storage": tmp_path}, 0.1, "Kafka does not answer"),
    ):
        with pytest.raises(NotReady, match=reason), subscribe(fleet.model, NETWORK, timeout=timeout, **where):
            pass
