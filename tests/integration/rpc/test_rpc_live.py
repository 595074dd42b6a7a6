"""The role `rpc` on a fleet's live weights: ready with the first version, and nobody notices the swaps."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.utils import InferenceServerException

from tests.integration.ckpt.fleet import Fleet
from tests.integration.rpc.rpc_process import start, stop
from tests.patience import WAIT_S

MODEL = '''
import time
from collections.abc import Sequence
from pathlib import Path
import msgspec, torch
from headrace import Model

SLOW = Path(__file__).with_name("slow")

class Event(msgspec.Struct):
    id: str

class Label(msgspec.Struct):
    id: str

class Network(torch.nn.Linear):
    """Its version 3 takes as long as there is a file named "slow"."""
    def forward(self, x):
        while self.bias.item() == 3 and SLOW.exists():
            time.sleep(0.01)
        return super().forward(x)

class Version(Model[Event, Label]):
    """Its weights are such that the prediction is the version."""
    key = "id"
    def network(self): return Network(4, 1)
    def features(self, events): return torch.zeros(len(events), 4)
    def loss(self, outputs, labels): return outputs.sum()
    def predictions(self, outputs) -> Sequence[float]: return outputs[:, 0].tolist()
    def error(self, prediction, label): return 0.0
'''


@pytest.fixture
def pipeline(fleet: Fleet, tmp_path: Path) -> Path:
    folder = tmp_path / "pipeline"
    folder.mkdir()
    (folder / "pipeline.yaml").write_text(f"name: {fleet.model}\nmodel: model.py:Version\n")
    (folder / "model.py").write_text(MODEL)
    return folder


class Load:
    """A caller that never stops; it keeps every (version in the answer, prediction)."""

    def __init__(self, address: str, model: str) -> None:
        self.answers: list[tuple[int, float]] = []
        self.errors: list[Exception] = []
        self._address, self._model = address, model
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        tensor = tritonclient.grpc.InferInput("id", [1, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([["a"]], np.object_))
        with tritonclient.grpc.InferenceServerClient(self._address) as client:
            while not self._over.is_set():
                try:
                    answer = client.infer(self._model, [tensor])
                except InferenceServerException as error:
                    self.errors.append(error)
                else:
                    response = answer.get_response()
                    self.answers.append((int(response.model_version), float(answer.as_numpy("prediction")[0, 0])))

    def stop(self) -> None:
        self._over.set()
        self._thread.join(WAIT_S)

    def wait_for(self, version: int) -> None:
        deadline = time.monotonic() + WAIT_S
        while not self.answers or self.answers[-1][0] != version:
            assert time.monotonic() < deadline, (version, self.answers[-3:], self.errors[:3])
            time.sleep(0.01)


@pytest.fixture
def endpoints(fleet: Fleet, pipeline: Path) -> Iterator[dict[str, str]]:
    fleet.coordinator("coordinator", "--stage-timeout-s", "10")
    fleet.agent(
        "agent", "--fence-grace-s", "0.5", "--stage-at-once", "1"
    )  # one that is slow keeps nobody waiting for too long
    process, made = start(fleet.folder, pipeline=pipeline)
    yield made
    assert stop(process) == 0


def test_swaps_fail_no_request_and_every_answer_is_its_versions(fleet: Fleet, endpoints: dict[str, str]) -> None:
    with grpc.insecure_channel(endpoints["grpc"]) as channel:
        health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        fleet.publish(1)
        assert next(health).status == health_pb2.HealthCheckResponse.SERVING
        health.cancel()
    load = Load(endpoints["grpc"], fleet.model)
    try:
        for version in range(1, 6):
            if version > 1:
                fleet.publish(version)
            load.wait_for(version)
    finally:
        load.stop()

    assert load.errors == []
    assert {version for version, _ in load.answers} == {1, 2, 3, 4, 5}
    assert all(prediction == version for version, prediction in load.answers)
    assert [v for v, _ in load.answers] == sorted(v for v, _ in load.answers)


def ready(endpoints: dict[str, str], model: str) -> tuple[bool, bool, bool, bool]:
    """What it says of itself on the ops port, over REST and gRPC, of the server and of the model."""
    urls = (f"{endpoints['ops']}/readyz", f"{endpoints['rest']}/v2/health/ready")
    with tritonclient.grpc.InferenceServerClient(endpoints["grpc"]) as client:
        ops, rest = (httpx.get(url).status_code == 200 for url in urls)
        return ops, rest, client.is_server_ready(), client.is_model_ready(model)


def test_a_laggard_is_not_ready_until_it_has_caught_up_and_answers_meanwhile(
    fleet: Fleet, endpoints: dict[str, str], pipeline: Path
) -> None:
    """Left behind at the deadline of staging; every health check says so, and one flip fences nobody."""
    other = fleet.local("other")
    load = Load(endpoints["grpc"], fleet.model)
    try:
        with grpc.insecure_channel(endpoints["grpc"]) as channel:
            health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
            for version in (1, 2):
                fleet.publish(version)
                load.wait_for(version)
            assert next(health).status == health_pb2.HealthCheckResponse.SERVING
            (pipeline / "slow").touch()
            fleet.publish(3)
            other.expect(3)
            assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert ready(endpoints, fleet.model) == (False,) * 4
            load.answers.clear()
            load.wait_for(2)
            (pipeline / "slow").unlink()
            assert next(health).status == health_pb2.HealthCheckResponse.SERVING
            load.wait_for(3)
            assert ready(endpoints, fleet.model) == (True,) * 4
            health.cancel()
    finally:
        (pipeline / "slow").unlink(missing_ok=True)
        load.stop()
    assert {error.status() for error in load.errors} <= {"StatusCode.UNAVAILABLE"}, "before the first version"
    assert all(prediction == version for version, prediction in load.answers)
