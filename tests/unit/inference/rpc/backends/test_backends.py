"""Each backend computes what its module computes by hand, and says what is wrong with a file."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto
from torch import nn

from services.inference.rpc.backends.arrays import objects
from services.inference.rpc.backends.exported import ExportedBackend
from services.inference.rpc.backends.onnx import OnnxBackend
from services.inference.rpc.backends.port import Backend, BackendError, Signature, TensorInfo
from services.inference.rpc.backends.torchscript import TorchScriptBackend
from tests.unit.inference.rpc.backends.artifacts import (
    SIGNATURE,
    Linear,
    identity,
    save_exported,
    save_identity,
    save_linear_exported,
    save_onnx,
    save_script,
)

LINEAR = {
    "model.pt": (save_script, TorchScriptBackend),
    "model.pt2": (save_linear_exported, ExportedBackend),
    "model.onnx": (save_onnx, OnnxBackend),
}


class Same(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clone()


class Named(nn.Module):
    def forward(self, shift: torch.Tensor, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = x[:, :2] - shift
        return {"positive": y > 0, "y": y}


def made(name: str, folder: Path, signature: Signature = SIGNATURE) -> tuple[Linear, Backend]:
    save, backend = LINEAR[name]
    module = Linear()
    save(module, folder / name)
    return module, backend(folder / name, signature)


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_a_backend_computes_what_the_module_computes(name: str, rows: int, tmp_path: Path) -> None:
    module, backend = made(name, tmp_path)
    x, shift = torch.randn(rows, 4), torch.randn(rows, 2)
    y, positive = module(x, shift)
    found = backend.run({"x": x.numpy(), "shift": shift.numpy()})
    np.testing.assert_allclose(found["y"], y.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert found["positive"].dtype == np.bool_
    assert found["positive"].tolist() == positive.tolist()
    assert backend.fault == ""


@pytest.mark.parametrize("name", LINEAR)
def test_a_file_that_is_none_of_the_format_is_an_error_that_names_it(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"no model" * 100)
    with pytest.raises(BackendError, match=name):
        LINEAR[name][1](tmp_path / name, SIGNATURE)


@pytest.mark.parametrize(("save", "backend"), [(save_script, TorchScriptBackend), (None, ExportedBackend)])
def test_torch_gets_its_inputs_by_name_and_gives_outputs_by_name(save, backend, tmp_path: Path) -> None:
    path = tmp_path / "model.x"
    if save is not None:
        save(Named(), path)
    else:
        path = tmp_path / "model.pt2"
        save_exported(Named(), path, torch.zeros(3, 2), torch.zeros(3, 4))
    x, shift = torch.randn(2, 4), torch.randn(2, 2)
    found = backend(path, SIGNATURE).run({"x": x.numpy(), "shift": shift.numpy()})
    np.testing.assert_array_equal(found["y"], (x[:, :2] - shift).numpy())


ELEMENTS = {
    "BOOL": np.array([[True, False]]),
    **{f"INT{n}": np.array([[-1, 2 ** (n - 1) - 1]], f"i{n // 8}") for n in (8, 16, 32, 64)},
    **{f"UINT{n}": np.array([[0, 2**n - 1]], f"u{n // 8}") for n in (8, 16, 32, 64)},
    **{f"FP{n}": np.array([[0.5, -3.25]], f"f{n // 8}") for n in (16, 32, 64)},
    "BF16": np.array([[0x3F80, 0xC050]], "u2"),
}


@pytest.mark.parametrize("datatype", ELEMENTS)
@pytest.mark.parametrize("kind", ["script", "exported"])
def test_torch_carries_every_datatype_but_bytes(kind: str, datatype: str, tmp_path: Path) -> None:
    from services.inference.rpc.backends.torch_tensors import to_torch

    given = ELEMENTS[datatype]
    given.setflags(write=False)  # as the bytes of a request are
    if kind == "script":
        save_script(Same(), tmp_path / "model.pt")
        backend: Backend = TorchScriptBackend(tmp_path / "model.pt", identity(datatype))
    else:
        example = to_torch(np.repeat(given, 2, axis=0), identity(datatype).inputs[0])
        save_exported(Same(), tmp_path / "model.pt2", example)
        backend = ExportedBackend(tmp_path / "model.pt2", identity(datatype))
    found = backend.run({"x": given})["y"]
    assert found.dtype == given.dtype
    assert found.tobytes() == given.tobytes()


ONNX_KINDS = {
    "BOOL": TensorProto.BOOL,
    **{f"{u}INT{n}": getattr(TensorProto, f"{u}INT{n}") for u in ("", "U") for n in (8, 16, 32, 64)},
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
}


@pytest.mark.parametrize("datatype", ONNX_KINDS)
def test_onnx_carries_every_datatype_but_bf16(datatype: str, tmp_path: Path) -> None:
    save_identity(tmp_path / "model.onnx", ONNX_KINDS[datatype])
    found = OnnxBackend(tmp_path / "model.onnx", identity(datatype)).run({"x": ELEMENTS[datatype]})["y"]
    assert found.dtype == ELEMENTS[datatype].dtype
    assert found.tobytes() == ELEMENTS[datatype].tobytes()


def test_onnx_carries_text(tmp_path: Path) -> None:
    save_identity(tmp_path / "model.onnx", TensorProto.STRING)
    given = objects([b"", "übel".encode()]).reshape(1, 2)
    found = OnnxBackend(tmp_path / "model.onnx", identity("BYTES")).run({"x": given})["y"]
    assert found.tolist() == given.tolist()


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        (identity("FP64"), r"input 'x' is tensor\(float\), and FP64 in config.pbtxt"),
        (identity("BF16"), "BF16 in config.pbtxt"),
        (Signature("m", (TensorInfo("z", "FP32", (2,)),), (), batched=True, parameters={}), "no input 'z'"),
        (
            Signature("m", identity("FP32").inputs, (TensorInfo("q", "FP32", (2,)),), batched=True, parameters={}),
            "no output 'q'",
        ),
        (Signature("m", (), (), batched=True, parameters={}), "input 'x' is not in config.pbtxt"),
        (
            Signature("m", (), (), batched=True, parameters={"intra_op_thread_count": "many"}),
            "'intra_op_thread_count' is an integer",
        ),
    ],
)
def test_tensors_that_onnx_has_otherwise_are_an_error_at_loading(
    signature: Signature, said: str, tmp_path: Path
) -> None:
    save_identity(tmp_path / "model.onnx", TensorProto.FLOAT)
    with pytest.raises(BackendError, match=said):
        OnnxBackend(tmp_path / "model.onnx", signature)


def test_torch_says_that_it_has_no_strings(tmp_path: Path) -> None:
    save_script(Same(), tmp_path / "model.pt")
    with pytest.raises(BackendError, match="'x' is BYTES, which torch has no tensors of"):
        TorchScriptBackend(tmp_path / "model.pt", identity("BYTES"))


def test_an_output_of_another_type_is_an_error_that_names_it(tmp_path: Path) -> None:
    save_script(Same(), tmp_path / "model.pt")
    signature = Signature(
        "m", (TensorInfo("x", "FP32", (2,)),), (TensorInfo("y", "INT64", (2,)),), batched=True, parameters={}
    )
    backend = TorchScriptBackend(tmp_path / "model.pt", signature)
    with pytest.raises(BackendError, match=r"output 'y' is torch.float32, and INT64"):
        backend.run({"x": np.zeros((1, 2), "f4")})


class Marker:
    """What a hostile file would have unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self._path),)


@pytest.mark.parametrize("member", ["sample_inputs", "weights"])
def test_loading_an_exported_program_runs_no_pickle(member: str, tmp_path: Path) -> None:
    save_linear_exported(Linear(), tmp_path / "good.pt2")
    payload = io.BytesIO()
    torch.save(Marker(tmp_path / "ran"), payload)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(io.BytesIO(payload.getvalue()), weights_only=True)
    with zipfile.ZipFile(tmp_path / "good.pt2") as good, zipfile.ZipFile(tmp_path / "model.pt2", "w") as bad:
        for name in good.namelist():
            data = good.read(name)
            if member == "sample_inputs" and "sample_inputs" in name:
                data = payload.getvalue()
            if member == "weights" and name.endswith("weight_0"):
                data = payload.getvalue()
            if member == "weights" and name.endswith("weights_config.json"):
                data = data.replace(b'"use_pickle": false', b'"use_pickle": true')
                assert b'"use_pickle": true' in data
            bad.writestr(name.replace("good/", "model/", 1), data)
    with pytest.raises(BackendError, match=r"UnpicklingError|Weights only"):
        ExportedBackend(tmp_path / "model.pt2", SIGNATURE)
    assert not (tmp_path / "ran").exists()
