"""Between arrays and torch's tensors, for both of its formats."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from services.inference.rpc.backends.arrays import Array
from services.inference.rpc.backends.port import BackendError, Columns, Signature, TensorInfo

DTYPES = {
    "BOOL": torch.bool,
    "UINT8": torch.uint8,
    "UINT16": torch.uint16,
    "UINT32": torch.uint32,
    "UINT64": torch.uint64,
    "INT8": torch.int8,
    "INT16": torch.int16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "FP16": torch.float16,
    "BF16": torch.bfloat16,
    "FP32": torch.float32,
    "FP64": torch.float64,
}
"""All datatypes of the protocol but BYTES: torch has no tensors of strings."""


def check_datatypes(signature: Signature) -> None:
    """Whether torch has all datatypes of a model.

    Raises:
        BackendError: it has not.
    """
    for info in (*signature.inputs, *signature.outputs):
        if info.datatype not in DTYPES:
            raise BackendError(f"'{info.name}' is {info.datatype}, which torch has no tensors of")


def to_torch(array: Array, info: TensorInfo) -> torch.Tensor:
    """An input as torch takes it."""
    writable = array if array.flags.writeable else array.copy()  # torch's tensors are, or it warns
    tensor = torch.from_numpy(writable)
    return tensor.view(torch.bfloat16) if info.datatype == "BF16" else tensor


def to_array(tensor: Any, info: TensorInfo) -> Array:
    """An output as an array.

    Raises:
        BackendError: it is something else than the configuration says.
    """
    if not isinstance(tensor, torch.Tensor):
        raise BackendError(f"output '{info.name}' is a {type(tensor).__name__}, not a tensor")
    if tensor.dtype != DTYPES[info.datatype]:
        raise BackendError(f"output '{info.name}' is {tensor.dtype}, and {info.datatype} in the configuration")
    plain = tensor.detach().cpu().contiguous()
    found: np.ndarray[Any, Any] = (plain.view(torch.uint16) if info.datatype == "BF16" else plain).numpy()
    return found


def outputs_of(answer: Any, wanted: Sequence[TensorInfo]) -> Columns:
    """What a module returned, by the outputs' names: one tensor, several in their order, or a dictionary by name.

    Raises:
        BackendError: it does not fit the configuration.
    """
    if isinstance(answer, Mapping):
        if missing := [info.name for info in wanted if info.name not in answer]:
            raise BackendError(f"the module gives no output '{missing[0]}'")
        parts = [answer[info.name] for info in wanted]
    else:
        parts = list(answer) if isinstance(answer, list | tuple) else [answer]
    if len(parts) != len(wanted):
        raise BackendError(f"the module gives {len(parts)} outputs, and the configuration has {len(wanted)}")
    return {info.name: to_array(part, info) for info, part in zip(wanted, parts, strict=True)}
