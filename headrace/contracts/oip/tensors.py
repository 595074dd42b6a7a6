"""Tensors of the Open Inference Protocol v2 and their bytes: what both ends of a call need to agree on.

Bytes are little-endian and row-major; an element of BYTES is preceded by its length in four bytes.
"""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_ELEMENTS = 2**31 - 1


class TensorError(ValueError):
    """A tensor's datatype, shape and data do not fit one another."""


@dataclass(frozen=True, slots=True)
class Datatype:
    """An element type: its names in the protocol and in ModelConfig. `numpy` is None for BYTES."""

    name: str
    config: str
    numpy: np.dtype[Any] | None


DATATYPES = {
    d.name: d
    for d in (
        Datatype("BOOL", "TYPE_BOOL", np.dtype("?")),
        *(Datatype(f"UINT{n}", f"TYPE_UINT{n}", np.dtype(f"<u{n // 8}")) for n in (8, 16, 32, 64)),
        *(Datatype(f"INT{n}", f"TYPE_INT{n}", np.dtype(f"<i{n // 8}")) for n in (8, 16, 32, 64)),
        *(Datatype(f"FP{n}", f"TYPE_FP{n}", np.dtype(f"<f{n // 8}")) for n in (16, 32, 64)),
        Datatype("BF16", "TYPE_BF16", np.dtype("<u2")),
        Datatype("BYTES", "TYPE_STRING", None),
    )
}
"""By their name in the protocol. BF16 is its bits, which numpy has no floating-point type for."""

_SCALARS = {"BOOL": struct.Struct("<?"), "INT64": struct.Struct("<q"), "FP64": struct.Struct("<d")}


def datatype(name: str) -> Datatype:
    """The datatype of this name.

    Raises:
        TensorError: there is none.
    """
    found = DATATYPES.get(name)
    if found is None:
        raise TensorError(f"unknown datatype '{name}'")
    return found


def element_count(shape: Iterable[int]) -> int:
    """How many elements a tensor of this shape has.

    Raises:
        TensorError: a dimension is negative, or there are too many elements to exist.
    """
    count = 1
    for side in shape:
        if side < 0:
            raise TensorError(f"dimension {side} is negative")
        count *= side
        if count > MAX_ELEMENTS:
            raise TensorError(f"more than {MAX_ELEMENTS} elements")
    return count


def decode(name: str, count: int, raw: bytes | memoryview) -> list[Any]:
    """`count` elements of the datatype `name` as plain values: bool, int, float, or bytes.

    Raises:
        TensorError: unknown datatype, or `raw` holds more or fewer.
    """
    kind = datatype(name).numpy
    if kind is None:
        return _decode_bytes(count, raw)
    if len(raw) != count * kind.itemsize:
        raise TensorError(f"{len(raw)} bytes where {count} elements of {name} take {count * kind.itemsize}")
    if (
        count == 1 and (scalar := _SCALARS.get(name)) is not None
    ):  # most requests are for one event: numpy takes thrice as long
        return list(scalar.unpack(raw))
    return np.frombuffer(raw, kind).tolist()  # type: ignore[no-any-return]


def all_finite(raw: bytes | memoryview) -> bool:
    """Whether bytes of FP64 hold neither NaN nor infinity. For whole elements only, which `decode` checks."""
    if len(raw) == _SCALARS["FP64"].size:
        return math.isfinite(_SCALARS["FP64"].unpack(raw)[0])
    return bool(np.isfinite(np.frombuffer(raw, "<f8")).all())


def _decode_bytes(count: int, raw: bytes | memoryview) -> list[bytes]:
    raw = bytes(raw)
    at, end = 0, len(raw)
    elements: list[bytes] = []
    while at < end and len(elements) < count:
        start = at + 4
        at = start + int.from_bytes(raw[at:start], "little")
        if start > end or at > end:
            raise TensorError(f"element {len(elements)} of BYTES is cut off")
        elements.append(raw[start:at])
    if len(elements) != count or at != end:
        more = f"and {end - at} bytes after them " if at != end else ""
        raise TensorError(f"{len(elements)} elements {more}where {count} are expected")
    return elements


def encode(name: str, values: Sequence[Any]) -> bytes:
    """The bytes of `values`, as `decode` reads them; text goes as UTF-8.

    Raises:
        TensorError: unknown datatype, or a value that it cannot hold.
    """
    kind = datatype(name).numpy
    try:
        if kind is None:
            parts = [v.encode() if isinstance(v, str) else v for v in values]
            return b"".join([piece for part in parts for piece in (len(part).to_bytes(4, "little"), part)])
        if len(values) == 1 and (scalar := _SCALARS.get(name)) is not None:
            return scalar.pack(values[0])
        return np.asarray(values, kind).tobytes()
    except (struct.error, TypeError, ValueError, OverflowError) as error:
        raise TensorError(f"{name} cannot hold these values: {error}") from error
