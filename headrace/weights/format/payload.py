"""The bytes of a version: one safetensors string, and tensors as views over it.

safetensors lays a payload out as 8 bytes of little-endian header length, a JSON header, then the tensors end to end,
widest dtype first, so that every tensor is aligned to its own element size. Nothing here unpickles.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import torch
from safetensors.torch import save

from headrace.weights.errors import IncompatibleWeights, ManifestError
from headrace.weights.format.manifest import TensorSpec

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""safetensors' names of dtypes."""

_CODES = {dtype: code for code, dtype in DTYPES.items()}


class _Entry(msgspec.Struct):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


_HEADER = msgspec.json.Decoder(dict[str, _Entry])


def dtype_code(name: str, dtype: torch.dtype) -> str:
    """Return safetensors' name of ``dtype``; ``name`` is the tensor's, for the message."""
    if dtype not in _CODES:
        raise IncompatibleWeights(f"tensor {name!r} has dtype {dtype}, which safetensors cannot carry")
    return _CODES[dtype]


def dump(state_dict: Mapping[str, torch.Tensor]) -> bytes:
    """Serialize a state dict, from any device; equal tensors give equal bytes.

    Tensors that share memory (tied weights) are written out once each, so that names keep their own bytes.
    """
    seen: set[int] = set()
    plain: dict[str, torch.Tensor] = {}
    for name, tensor in state_dict.items():
        dtype_code(name, tensor.dtype)
        host = tensor.detach().cpu().contiguous()
        storage = host.untyped_storage()
        whole = storage.nbytes() == host.numel() * host.element_size()
        plain[name] = host if whole and storage.data_ptr() not in seen else host.clone()
        seen.add(plain[name].untyped_storage().data_ptr())
    return save(plain)


def layout(payload: bytes | memoryview) -> list[TensorSpec]:
    """Read tensors' names, dtypes, shapes and byte spans within the payload from what `dump` wrote, by position."""
    base = 8 + int.from_bytes(payload[:8], "little")
    try:
        header = _HEADER.decode(payload[8:base])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ManifestError(f"not a safetensors payload: {error}") from error
    specs = [
        TensorSpec(name, entry.dtype, entry.shape, base + entry.data_offsets[0], base + entry.data_offsets[1])
        for name, entry in header.items()
    ]
    return sorted(specs, key=lambda spec: (spec.start, spec.end, spec.name))


def specs_of(state_dict: Mapping[str, torch.Tensor]) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return ``(name, dtype, shape)`` of every tensor of a network's state dict, as `schema_hash` takes them."""
    return [(name, dtype_code(name, t.dtype), tuple(t.shape)) for name, t in state_dict.items()]


def view(buffer: Any, specs: list[TensorSpec], base: int = 0) -> dict[str, torch.Tensor]:
    """Return tensors over ``buffer`` without a copy; they keep it alive.

    Args:
        buffer: a writable buffer (bytearray, mmap) holding the payload from byte ``base`` on.
        specs: the payload's tensors.
        base: where in ``buffer`` the payload starts.
    """
    tensors: dict[str, torch.Tensor] = {}
    for spec in specs:
        if spec.dtype not in DTYPES:
            raise ManifestError(f"tensor {spec.name!r} has an unknown dtype {spec.dtype!r}")
        dtype = DTYPES[spec.dtype]
        elements = (spec.end - spec.start) // dtype.itemsize
        if elements == 0:
            tensors[spec.name] = torch.empty(spec.shape, dtype=dtype)
            continue
        flat = torch.frombuffer(buffer, dtype=dtype, count=elements, offset=base + spec.start)
        tensors[spec.name] = flat.reshape(spec.shape).data  # a view's base would stay, whatever data it is given later
    return tensors
