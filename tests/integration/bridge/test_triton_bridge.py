"""The bridge as a process, a real fleet, and a real Triton: `make triton` runs it."""

import contextlib
import os
import queue
import threading
import time
from pathlib import Path

import pytest
import torch
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from headrace.contracts.events_pb2 import Operation
from headrace.model.template import write_pipeline
from tests.integration.bridge.triton_server import TritonServer
from tests.integration.ckpt.heat import NETWORK, READING, release
from tests.patience import WAIT_S

WHEEL = os.environ.get("TRITON_WHEEL", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # Triton starts Python processes that import torch for every version
    pytest.mark.skipif(not WHEEL, reason="TRITON_WHEEL names no unpacked nvidia-pytriton: run `make triton`"),
]


@pytest.fixture
def triton(tmp_path):
    server = TritonServer(Path(WHEEL), tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(triton):
    with contextlib.closing(grpc.InferenceServerClient(triton.address)) as made:
        yield made


def ask(client, model) -> tuple[str, float]:
    """The version that answers a request which names none, and its answer."""
    tensor = grpc.InferInput("features", [1, 4], "FP32")
    tensor.set_data_from_numpy(READING.numpy())
    answer = client.infer(model, [tensor], client_timeout=10.0)
    return answer.get_response().model_version, answer.as_numpy("outputs").item()


def await_answer(client, model, bridge, manifest, expected) -> None:
    deadline, seen = time.monotonic() + 120.0, None
    while seen != str(manifest.version):
        assert time.monotonic() < deadline, (seen, bridge.log.read_text()[-3000:])
        with contextlib.suppress(InferenceServerException):
            seen, answer = ask(client, model)
        time.sleep(0.05)
    assert answer == pytest.approx(expected, abs=1e-6)
    assert client.get_model_config(model).config.parameters["headrace.checkpoint"].string_value == manifest.digest


def assert_that_requests_at_once_get_their_own_answers(client, model, version) -> None:
    """Triton joins them into batches, the bridge's model.py takes the batches apart again."""
    torch.manual_seed(version)
    network, questions, answers = NETWORK().eval(), torch.randn(24, 3, 4), queue.SimpleQueue()
    for number, rows in enumerate(questions):
        tensor = grpc.InferInput("features", [3, 4], "FP32")
        tensor.set_data_from_numpy(rows.numpy())
        client.async_infer(model, [tensor], lambda result, error, number=number: answers.put((number, result, error)))
    for _ in questions:
        number, result, error = answers.get(timeout=WAIT_S)
        assert error is None
        with torch.inference_mode():
            assert result.as_numpy("outputs").ravel() == pytest.approx(network(questions[number]).numpy(), abs=1e-6)


class Requests:
    """Asks all the time; counts failures, and answers that are not of the version that they name."""

    def __init__(self, address, model) -> None:
        self.answers: dict[str, set[float]] = {}
        self.count = 0
        self.failures: list[str] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(address, model))
        self._thread.start()

    def _run(self, address, model) -> None:
        with contextlib.closing(grpc.InferenceServerClient(address)) as client:
            while not self._done.wait(0.005):
                try:
                    version, answer = ask(client, model)
                except InferenceServerException as error:
                    self.failures.append(str(error))
                    continue
                self.answers.setdefault(version, set()).add(round(answer, 5))
                self.count += 1

    def stop(self) -> None:
        self._done.set()
        self._thread.join(WAIT_S)


def test_triton_answers_with_every_version_that_the_fleet_activates(fleet, triton, client, tmp_path):
    """New versions, a roll back, and a Triton that was killed and starts empty.

    No request fails while versions change.
    """
    pipeline = write_pipeline(fleet.model, tmp_path)
    fleet.coordinator()
    bridge = fleet._start(
        "bridge",
        ["-m", "services.bridge", "--pipeline", str(pipeline), "--triton", triton.address, "--repository",
         str(triton.repository), "--check-s", "0.5", "--retry-s", "0.5"],
    )  # fmt: skip
    first = release(fleet, 1)
    await_answer(client, fleet.model, bridge, *first)
    requests = Requests(triton.address, fleet.model)
    second = release(fleet, 2)
    await_answer(client, fleet.model, bridge, *second)
    third = release(fleet, 3)
    await_answer(client, fleet.model, bridge, *third)
    assert_that_requests_at_once_get_their_own_answers(client, fleet.model, 3)
    fleet.operate(Operation.ROLL_BACK)
    await_answer(client, fleet.model, bridge, *second)
    requests.stop()
    assert requests.failures == []
    assert requests.answers == {str(m.version): {round(a, 5)} for m, a in (first, second, third)}
    triton.stop(kill=True)
    triton.start()
    await_answer(client, fleet.model, bridge, *second)
    assert bridge.stop() == 0
    model = triton.repository / fleet.model
    assert sorted(path.name for path in model.iterdir()) == ["2", "3", "config.pbtxt"]
    assert bridge.log.read_text().count("triton serves") == 5
