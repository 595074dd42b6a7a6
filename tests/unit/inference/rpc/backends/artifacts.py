"""Small models as files of a repository, and what they compute by hand."""

import warnings
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from services.inference.rpc.backends.port import Signature, TensorInfo

CONFIG = """
backend: "{backend}"
max_batch_size: 8
input {{ name: "x" data_type: TYPE_FP32 dims: [ 4 ] }}
input {{ name: "shift" data_type: TYPE_FP32 dims: [ 2 ] }}
output {{ name: "y" data_type: TYPE_FP32 dims: [ 2 ] }}
output {{ name: "positive" data_type: TYPE_BOOL dims: [ 2 ] }}
dynamic_batching {{ }}
"""
"""Of `Linear`."""

SIGNATURE = Signature(
    "linear",
    (TensorInfo("x", "FP32", (4,)), TensorInfo("shift", "FP32", (2,))),
    (TensorInfo("y", "FP32", (2,)), TensorInfo("positive", "BOOL", (2,))),
    batched=True,
    parameters={},
)


class Linear(nn.Module):
    """Two inputs, two outputs."""

    def __init__(self, seed: int = 3) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, shift: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.layer(x) + shift
        return y, y > 0


def save_script(module: nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.script(module.eval()).save(str(path))


def save_exported(module: nn.Module, path: Path, *examples: torch.Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module.eval(), examples, dynamic_shapes=[{0: batch} for _ in examples])
        torch.export.save(program, str(path))


def save_linear_exported(module: Linear, path: Path) -> None:
    save_exported(module, path, torch.zeros(3, 4), torch.zeros(3, 2))


def save_onnx(module: Linear, path: Path) -> None:
    """`Linear`, written node by node."""
    weight, bias = module.layer.weight.detach().numpy(), module.layer.bias.detach().numpy()
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["xw"], transB=1),
        helper.make_node("Add", ["xw", "shift"], ["y"]),
        helper.make_node("Greater", ["y", "zero"], ["positive"]),
    ]
    constants = [
        helper.make_tensor("w", TensorProto.FLOAT, weight.shape, weight.flatten()),
        helper.make_tensor("b", TensorProto.FLOAT, bias.shape, bias),
        helper.make_tensor("zero", TensorProto.FLOAT, (), [0.0]),
    ]
    given = [_value("x", TensorProto.FLOAT, 4), _value("shift", TensorProto.FLOAT, 2)]
    made = [_value("y", TensorProto.FLOAT, 2), _value("positive", TensorProto.BOOL, 2)]
    save_graph(path, nodes, given, made, constants)


def save_graph(path: Path, nodes: list, given: list, made: list, constants: list | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph(nodes, "graph", given, made, constants or [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, str(path))


def save_identity(path: Path, kind: int) -> None:
    """A graph that gives its input `x` back as `y`."""
    save_graph(path, [helper.make_node("Identity", ["x"], ["y"])], [_value("x", kind, 2)], [_value("y", kind, 2)])


def _value(name: str, kind: int, width: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["batch", width])


def identity(datatype: str) -> Signature:
    """The signature of `save_identity`."""
    return Signature(
        "identity", (TensorInfo("x", datatype, (2,)),), (TensorInfo("y", datatype, (2,)),), batched=True, parameters={}
    )
