"""The backend `remote` on a real Triton: `make triton` runs it."""

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest
from tritonclient import grpc

from services.inference.oip.messages import InvalidRequest, ModelFailed, Unavailable
from services.inference.rpc.backends.port import Signature, TensorInfo
from services.inference.rpc.backends.remote import RemoteBackend
from tests.integration.bridge.triton_server import TritonServer
from tests.patience import wait_for

WHEEL = os.environ.get("TRITON_WHEEL", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not WHEEL, reason="TRITON_WHEEL names no unpacked nvidia-pytriton: run `make triton`"),
]

CONFIG = """
backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] }
input { name: "count" data_type: TYPE_INT64 dims: [ 1 ] }
output { name: "double" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "same" data_type: TYPE_INT64 dims: [ 1 ] }
"""
MODEL = """
import torch
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        x = torch.from_dlpack(pb.get_input_tensor_by_name(request, "x"))
        count = torch.from_dlpack(pb.get_input_tensor_by_name(request, "count"))
        if (x < 0).any():
            return pb.InferenceResponse(output_tensors=[], error=pb.TritonError("negative"))
        outputs = {"double": x * 2, "same": count.clone()}
        return pb.InferenceResponse([pb.Tensor.from_dlpack(name, tensor) for name, tensor in outputs.items()])
"""


def remote(url: str) -> RemoteBackend:
    inputs = (TensorInfo("x", "FP32", (4,)), TensorInfo("count", "INT64", (1,)))
    outputs = (TensorInfo("double", "FP32", (4,)), TensorInfo("same", "INT64", (1,)))
    parameters = {"url": url, "breaker_failures": "2", "breaker_reset_s": "0.2", "retries": "0", "timeout_s": "30"}
    return RemoteBackend(Signature("doubles", inputs, outputs, batched=True, parameters=parameters))


def load(server: TritonServer) -> None:
    server.start()
    with contextlib.closing(grpc.InferenceServerClient(server.address)) as client:
        client.load_model("doubles")


def test_a_real_triton_answers_refuses_dies_and_comes_back(tmp_path: Path) -> None:
    server = TritonServer(Path(WHEEL), tmp_path)
    folder = server.repository / "doubles" / "1"
    folder.mkdir(parents=True)
    (folder.parent / "config.pbtxt").write_text(CONFIG)
    (folder / "model.py").write_text(MODEL)
    load(server)
    backend = remote(server.address)
    count = np.array([[5], [-7]])
    columns = {"x": np.arange(8, dtype="f4").reshape(2, 4), "count": count}
    try:
        found = backend.run(columns)
        np.testing.assert_array_equal(found["double"], columns["x"] * 2)
        assert found["same"].tolist() == count.tolist()
        with pytest.raises(ModelFailed, match="negative"):
            backend.run({**columns, "x": columns["x"] - 5})
        with pytest.raises(InvalidRequest, match="INVALID_ARGUMENT"):
            backend.run({"x": np.zeros((2, 4), "f4"), "count": np.array([[1]])})
        server.stop(kill=True)
        for _ in range(2):
            with pytest.raises(Unavailable, match=server.address):
                backend.run(columns)
        assert "has not answered 2 times in a row" in backend.fault
        load(server)

        def answers() -> bool:
            with contextlib.suppress(Unavailable):
                return bool((backend.run(columns)["double"] == columns["x"] * 2).all())
            return False

        wait_for(answers)
        assert backend.fault == ""
    finally:
        backend.close()
        server.stop()
