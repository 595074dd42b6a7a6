"""A model repository over gRPC and REST, with one model of each kind; the remote ones are another rpc server's."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as tgrpc
import tritonclient.http as thttp
from onnx import TensorProto
from torch import nn
from tritonclient.utils import InferenceServerException

from services.inference.rpc.backends.arrays import objects
from tests.integration.rpc.rpc_process import start, stop
from tests.patience import wait_for
from tests.unit.inference.rpc.backends.artifacts import (
    CONFIG,
    Linear,
    save_identity,
    save_linear_exported,
    save_onnx,
    save_script,
)

KINDS = ("script", "exported", "onnx", "far")
REMOTE = """
parameters {{ key: "url" value {{ string_value: "{url}" }} }}
parameters {{ key: "model_name" value {{ string_value: "{model}" }} }}
parameters {{ key: "timeout_s" value {{ string_value: "5" }} }}
parameters {{ key: "retries" value {{ string_value: "1" }} }}
parameters {{ key: "breaker_failures" value {{ string_value: "3" }} }}
parameters {{ key: "breaker_reset_s" value {{ string_value: "0.2" }} }}
"""
IDENTITY = """
max_batch_size: 4
input {{ name: "x" data_type: TYPE_{kind} dims: [ 2 ] }}
output {{ name: "y" data_type: TYPE_{kind} dims: [ 2 ] }}
"""
ELEMENTS = {
    "BOOL": np.array([[True, False]]),
    "INT8": np.array([[-1, 127]], "i1"),
    "UINT64": np.array([[0, 2**64 - 1]], "u8"),
    "FP16": np.array([[0.5, -3.25]], "f2"),
    "BF16": np.array([[1.0, -3.25]], ml_dtypes.bfloat16),
    "STRING": objects([b"", "ü".encode()]).reshape(1, 2),
}


class Same(nn.Module):
    def forward(self, x):
        return x.clone()


@dataclass
class Two:
    """The server under test, and the one that its remote models are of."""

    module: Linear
    root: Path
    here: dict[str, str]
    far: dict[str, str]


def put(root: Path, name: str, config: str) -> Path:
    folder = root / name / "1"
    folder.mkdir(parents=True)
    (root / name / "config.pbtxt").write_text(config)
    return folder


def fill(root: Path) -> Linear:
    module = Linear()
    save_script(module, put(root, "script", CONFIG.format(backend="pytorch")) / "model.pt")
    save_linear_exported(module, put(root, "exported", CONFIG.format(backend="pytorch")) / "model.pt2")
    save_onnx(module, put(root, "onnx", CONFIG.format(backend="onnxruntime")) / "model.onnx")
    for kind in ELEMENTS:
        folder = put(root, f"same_{kind}", IDENTITY.format(kind=kind))
        if kind == "STRING":
            save_identity(folder / "model.onnx", TensorProto.STRING)
        else:
            save_script(Same(), folder / "model.pt")
    put(root, "broken", CONFIG.format(backend="pytorch")).joinpath("model.pt").write_bytes(b"damaged")
    return module


def serve(run_dir: Path, root: Path, *flags: str) -> tuple[Any, dict[str, str]]:
    run_dir.mkdir(exist_ok=True)
    weights = Path(run_dir) / "weights.safetensors"
    if not weights.exists():
        from safetensors.torch import save_file

        from headrace.model.pipeline import load_pipeline
        from tests.integration.rpc.rpc_process import FOLDER

        save_file(load_pipeline(FOLDER).model.network().state_dict(), weights)
    process, endpoints = start(run_dir, "--weights", str(weights), "--model-repository", str(root), *flags)
    client = tgrpc.InferenceServerClient(endpoints["grpc"])
    wait_for(client.is_server_ready)
    client.close()
    return process, endpoints


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    root = tmp_path_factory.mktemp("models")
    module = fill(root / "far")
    fill(root / "here")
    far, far_at = serve(root / "run-far", root / "far")
    try:
        parameters = REMOTE.format(url=far_at["grpc"], model="script")
        put(root / "here", "far", CONFIG.format(backend="remote") + parameters)
        for kind in ELEMENTS:
            parameters = REMOTE.format(url=far_at["grpc"], model=f"same_{kind}")
            put(root / "here", f"far_{kind}", IDENTITY.format(kind=kind) + 'backend: "remote"' + parameters)
        here, here_at = serve(root / "run-here", root / "here")
        try:
            yield Two(module, root / "here", here_at, far_at)
        finally:
            stop(here)
    finally:
        stop(far)


def clients(endpoints: dict[str, str]) -> list[tuple[Any, Any]]:
    rest = endpoints["rest"].removeprefix("http://")
    return [(tgrpc, tgrpc.InferenceServerClient(endpoints["grpc"])), (thttp, thttp.InferenceServerClient(rest))]


def linear_inputs(library: Any, rows: int, **how: bool) -> tuple[list[Any], np.ndarray, np.ndarray]:
    generator = np.random.default_rng(rows)
    x, shift = generator.normal(size=(rows, 4)).astype("f4"), generator.normal(size=(rows, 2)).astype("f4")
    sent = [library.InferInput("x", [rows, 4], "FP32"), library.InferInput("shift", [rows, 2], "FP32")]
    for tensor, array in zip(sent, (x, shift), strict=True):
        tensor.set_data_from_numpy(array, **how)
    return sent, x, shift


def expected(module: Linear, x: np.ndarray, shift: np.ndarray) -> np.ndarray:
    import torch

    return module(torch.from_numpy(x), torch.from_numpy(shift))[0].detach().numpy()


@pytest.mark.parametrize("model", KINDS)
def test_a_model_of_each_kind_answers_over_grpc_rest_and_rest_binary(two: Two, model: str) -> None:
    for library, client in clients(two.here):
        for how in [{}] if library is tgrpc else [{"binary_data": True}, {"binary_data": False}]:
            sent, x, shift = linear_inputs(library, 3, **how)
            wanted = [library.InferRequestedOutput(name, **how) for name in ("y", "positive")]
            answer = client.infer(model, sent, outputs=wanted, model_version="1")
            y = expected(two.module, x, shift)
            np.testing.assert_allclose(answer.as_numpy("y"), y, rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(answer.as_numpy("positive"), answer.as_numpy("y") > 0)
        client.close()


@pytest.mark.parametrize("model", KINDS)
def test_a_model_of_each_kind_answers_on_a_stream(two: Two, model: str) -> None:
    answers: list[Any] = []
    with tgrpc.InferenceServerClient(two.here["grpc"]) as client:
        client.start_stream(lambda result, error: answers.append(error or result))
        sent, x, shift = linear_inputs(tgrpc, 2)
        for _ in range(3):
            client.async_stream_infer(model, sent)
        wait_for(lambda: len(answers) == 3)
        client.stop_stream()
    for answer in answers:
        np.testing.assert_allclose(answer.as_numpy("y"), expected(two.module, x, shift), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ELEMENTS)
@pytest.mark.parametrize("where", ["same", "far"])
def test_elements_of_each_datatype_come_back_as_they_went(two: Two, where: str, kind: str) -> None:
    given = ELEMENTS[kind]
    datatype = "BYTES" if kind == "STRING" else kind
    for library, client in clients(two.here):
        sent = library.InferInput("x", [1, 2], datatype)
        sent.set_data_from_numpy(given)
        found = client.infer(f"{where}_{kind}", [sent]).as_numpy("y")
        assert found.tolist() == given.tolist()
        client.close()


@pytest.mark.parametrize("model", KINDS)
def test_metadata_configuration_statistics_and_index_are_the_files(two: Two, model: str) -> None:
    for library, client in clients(two.here):
        how = {"as_json": True} if library is tgrpc else {}
        metadata = client.get_model_metadata(model, **how)
        assert metadata["versions"] == ["1"]
        assert [(t["name"], t["datatype"], [int(s) for s in t["shape"]]) for t in metadata["inputs"]] == [
            ("x", "FP32", [-1, 4]),
            ("shift", "FP32", [-1, 2]),
        ]
        config = client.get_model_config(model, **how)
        config = config.get("config", config)
        assert (config["max_batch_size"], config["input"][0]["data_type"]) == (8, "TYPE_FP32")
        assert [int(side) for side in config["input"][0]["dims"]] == [4]
        sent, _, _ = linear_inputs(library, 1)
        client.infer(model, sent)
        found = client.get_inference_statistics(model, "1", **how)["model_stats"][0]
        assert int(found["inference_count"]) >= 1
        index = client.get_model_repository_index(**how)
        entries = {entry["name"]: entry for entry in (index["models"] if library is tgrpc else index)}
        assert (entries[model]["state"], entries[model]["version"]) == ("READY", "1")
        assert entries["broken"]["state"] == "UNAVAILABLE"
        assert "model.pt cannot be loaded as TorchScript" in entries["broken"]["reason"]
        assert client.is_server_ready()
        assert client.is_model_ready(model)
        assert not client.is_model_ready("broken")
        client.close()


def test_models_are_unloaded_and_loaded_over_both(two: Two) -> None:
    for library, client in clients(two.here):
        client.unload_model("exported")
        sent, _, _ = linear_inputs(library, 1)
        with pytest.raises(InferenceServerException, match="has no available versions"):
            client.infer("exported", sent)
        client.load_model("exported")
        client.infer("exported", sent)
        with pytest.raises(InferenceServerException, match=r"failed to load 'broken', .*TorchScript"):
            client.load_model("broken")
        client.close()


def test_what_the_remote_refuses_is_the_callers_error(two: Two) -> None:
    with tgrpc.InferenceServerClient(two.here["grpc"]) as client:
        put(two.root, "far_wrong", CONFIG.format(backend="remote") + REMOTE.format(url=two.far["grpc"], model="none"))
        client.load_model("far_wrong")
        sent, _, _ = linear_inputs(tgrpc, 1)
        for _ in range(5):  # and opens no breaker: the server does answer
            with pytest.raises(InferenceServerException, match=r"says NOT_FOUND: .*'none' is not found"):
                client.infer("far_wrong", sent)


def test_a_remote_that_dies_is_unavailable_at_once_and_answers_when_it_is_back(two: Two, tmp_path: Path) -> None:
    fill(tmp_path / "models")
    far, far_at = serve(tmp_path / "run", tmp_path / "models")
    try:
        put(two.root, "mortal", CONFIG.format(backend="remote") + REMOTE.format(url=far_at["grpc"], model="script"))
        with tgrpc.InferenceServerClient(two.here["grpc"]) as client:
            client.load_model("mortal")
            sent, x, shift = linear_inputs(tgrpc, 2)
            client.infer("mortal", sent)
            far.kill()
            far.wait()
            said: list[str] = []

            def breaker_is_open() -> bool:
                with pytest.raises(InferenceServerException) as raised:
                    client.infer("mortal", sent)
                assert raised.value.status() == "StatusCode.UNAVAILABLE"
                said.append(raised.value.message())
                return "has not answered 3 times in a row" in said[-1]

            wait_for(breaker_is_open)
            assert far_at["grpc"] in said[0]
            np.testing.assert_allclose(  # and the other models go on
                client.infer("script", sent).as_numpy("y"), expected(two.module, x, shift), rtol=1e-5, atol=1e-6
            )
            far, again = serve(tmp_path / "run", tmp_path / "models", "--grpc-port", far_at["grpc"].rpartition(":")[2])
            assert again["grpc"] == far_at["grpc"]
            back = len(said)

            def answers() -> bool:
                try:
                    return client.infer("mortal", sent).as_numpy("y") is not None
                except InferenceServerException as error:
                    said.append(error.status())
                    return False

            wait_for(answers)
            assert client.is_model_ready("mortal")
            assert set(said[back:]) <= {"StatusCode.UNAVAILABLE"}
    finally:
        stop(far)
