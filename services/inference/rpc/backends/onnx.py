"""The backend of model.onnx: ONNX Runtime, on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np

from services.inference.rpc.backends.arrays import Array, objects
from services.inference.rpc.backends.port import BackendError, Columns, Signature, TensorInfo

_TYPES = {
    "BOOL": "bool",
    **{f"{kind}INT{n}": f"{kind.lower()}int{n}" for kind in ("", "U") for n in (8, 16, 32, 64)},
    "FP16": "float16",
    "FP32": "float",
    "FP64": "double",
    "BYTES": "string",
}
"""All datatypes of the protocol but BF16, which the runtime's Python interface does not hand over."""


class OnnxBackend:
    """See `Backend`. The parameter `intra_op_thread_count` is how many threads one execution has, by default 1.

    Raises:
        BackendError: ONNX Runtime is not installed, the file is none of its, or has other tensors.
    """

    fault = ""

    def __init__(self, path: Path, signature: Signature) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise BackendError("ONNX Runtime is not installed: pip install 'headrace[onnx]'") from None
        self.inputs, self.outputs = signature.inputs, signature.outputs
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _threads(signature)
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no class in common
            said = (str(error).strip().splitlines() or [""])[0]
            raise BackendError(f"{path.name} cannot be loaded by ONNX Runtime: {said}") from error
        self._check("input", self.inputs, self._session.get_inputs())
        self._check("output", self.outputs, self._session.get_outputs())

    def _check(self, side: str, wanted: tuple[TensorInfo, ...], found: list[Any]) -> None:
        types = {tensor.name: tensor.type for tensor in found}
        for info in wanted:
            if info.name not in types:
                raise BackendError(f"there is no {side} '{info.name}', there is {', '.join(map(repr, types))}")
            kind = f"tensor({_TYPES.get(info.datatype, 'none of it')})"
            if types[info.name] != kind:
                raise BackendError(f"{side} '{info.name}' is {types[info.name]}, and {info.datatype} in config.pbtxt")
        left = types.keys() - {info.name for info in wanted}
        if side == "input" and left:
            raise BackendError(f"input '{min(left)}' is not in config.pbtxt")

    def run(self, columns: Columns) -> Columns:
        """See `Backend`."""
        feed = {info.name: _given(columns[info.name]) for info in self.inputs if info.name in columns}
        answers = self._session.run([info.name for info in self.outputs], feed)
        return {info.name: _taken(found, info) for info, found in zip(self.outputs, answers, strict=True)}

    def close(self) -> None:
        """See `Backend`."""


def _threads(signature: Signature) -> int:
    said = signature.parameters.get("intra_op_thread_count", "1")
    if not said.isascii() or not said.isdigit():
        raise BackendError(f"parameter 'intra_op_thread_count' is an integer, got '{said}'")
    return int(said)


def _given(array: Array) -> Array:
    """As the runtime takes it: strings as text, which it keeps as UTF-8."""
    if array.dtype != object:
        return array
    return objects([element.decode() for element in array.reshape(-1)]).reshape(array.shape)


def _taken(found: Any, info: TensorInfo) -> Array:
    array = np.asarray(found)
    if info.datatype != "BYTES":
        return array
    flat = [element.encode() if isinstance(element, str) else bytes(element) for element in array.reshape(-1).tolist()]
    return objects(flat).reshape(array.shape)
