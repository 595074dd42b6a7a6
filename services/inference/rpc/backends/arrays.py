"""Requests' tensors as numpy arrays, and arrays as an answer's tensors, of all datatypes of the protocol."""

from typing import Any

import numpy as np
import torch

from headrace.contracts.oip import tensors
from headrace.contracts.oip.tensors import TensorError
from services.inference.oip.messages import InputTensor, InvalidRequest, OutputTensor
from services.inference.rpc.backends.port import TensorInfo

Array = np.ndarray[Any, Any]

_OBJECT, _BF16 = np.dtype(object), "BF16"


def dtype_of(datatype: str) -> np.dtype[Any]:
    """How the elements of a datatype are held: BYTES as objects, BF16 as its bits.

    Raises:
        TensorError: there is no such datatype.
    """
    return tensors.datatype(datatype).numpy or _OBJECT


def column(tensor: InputTensor, info: TensorInfo) -> Array:
    """An input's elements, in its shape.

    Raises:
        InvalidRequest: they are not of the datatype, or more or fewer than the shape says.
    """
    try:
        count = tensors.element_count(tensor.shape)
        flat = _from_values(info, count, tensor) if tensor.raw is None else _from_raw(info, count, tensor.raw)
    except TensorError as error:
        raise InvalidRequest(f"input '{info.name}': {error}") from error
    return flat.reshape(tuple(tensor.shape))


def _from_raw(info: TensorInfo, count: int, raw: bytes | memoryview) -> Array:
    dtype = dtype_of(info.datatype)
    if dtype == _OBJECT:
        return objects(tensors.decode(info.datatype, count, raw))
    if len(raw) != count * dtype.itemsize:
        raise TensorError(f"{len(raw)} bytes where {count} elements of {info.datatype} take {count * dtype.itemsize}")
    if info.datatype == "BOOL":
        truth: Array = np.frombuffer(raw, np.uint8) != 0
        return truth
    return np.frombuffer(raw, dtype)


_ACCEPTED: dict[str, set[type]] = {
    "BOOL": {bool},
    **{name: {float, int} for name in ("FP16", "FP32", "FP64", _BF16)},
    "BYTES": {str, bytes},
}


def _from_values(info: TensorInfo, count: int, tensor: InputTensor) -> Array:
    values = tensor.values or []
    if len(values) != count:
        raise TensorError(f"{len(values)} elements where shape {list(tensor.shape)} takes {count}")
    kinds = set(map(type, values))
    if not kinds <= _ACCEPTED.get(info.datatype, {int}):
        raise TensorError(f"{info.datatype} from values of type {', '.join(sorted(k.__name__ for k in kinds))}")
    if info.datatype == "BYTES":
        return objects([v.encode() if isinstance(v, str) else v for v in values])
    try:
        if info.datatype == _BF16:
            bits: Array = torch.tensor(values, dtype=torch.float32).to(torch.bfloat16).view(torch.uint16).numpy()
            return bits
        return np.asarray(values, dtype_of(info.datatype))
    except (OverflowError, ValueError, TypeError, RuntimeError) as error:
        raise TensorError(f"{info.datatype} cannot hold these values: {error}") from error


def objects(elements: list[Any]) -> Array:
    """A list as an array of objects, one dimension."""
    array = np.empty(len(elements), object)
    array[:] = elements
    return array


class ArrayOutput(OutputTensor):
    """An output that an array holds; its plain values are made for JSON alone."""

    __slots__ = ("_array",)

    def __init__(self, name: str, datatype: str, array: Array) -> None:
        self.name, self.datatype, self.shape = name, datatype, list(array.shape)
        self._array, self._raw, self._part_of, self.placed = array, None, None, None

    @property
    def values(self) -> list[Any]:  # type: ignore[override]  # it is only read
        """The elements, in row-major order."""
        flat = self._array.reshape(-1)
        if self.datatype == _BF16:
            return torch.from_numpy(flat.astype(np.uint16)).view(torch.bfloat16).tolist()
        return flat.tolist()

    def _encoded(self) -> bytes:
        if self.datatype == "BYTES":
            return tensors.encode("BYTES", self._array.reshape(-1).tolist())
        return self._array.tobytes()
