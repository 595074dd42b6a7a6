"""What changed between two payloads of one layout, as bytes: rows where only some did, whole tensors where most did.

A row is a tensor's innermost vector, [..., row]; of a tensor with one axis or none, it is one element. Bytes are
compared, never numbers, so that every dtype is alike, and -0.0 or another NaN is a change.

A patch set is 8 bytes of little-endian header length, a JSON header [[tensor, rows], ...], then for each entry in turn:

- rows >= 0: so many row numbers, ascending, little-endian u32 (u64 where a tensor has more rows), then those rows'
bytes;
- rows = -1: the tensor's bytes.

Tensors are named by their place in the manifest. Applying a set twice changes nothing more, and so does applying a
chain of them to a payload part of which has reached the chain's end already: that is what lets an interrupted rebuild
go on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from headrace.weights.errors import DeltaError
from headrace.weights.format.chunks import Buffer
from headrace.weights.format.manifest import TensorSpec

WHOLE = -1
_BLOCK = 1 << 20  # bytes compared at a time: what a comparison writes stays in the cache
_PREFIX = 8
_HEADER = msgspec.json.Decoder(list[tuple[int, int]])


@dataclass(frozen=True)
class Patch:
    """New bytes for a tensor: for the rows named, or for all of it where `rows` is None."""

    spec: TensorSpec
    rows: npt.NDArray[Any] | None
    """Row numbers, ascending, [R]."""
    data: npt.NDArray[np.void]
    """[R] rows, or all of them."""

    def write(self, payload: memoryview) -> None:
        """Put the bytes where they belong."""
        into = _rows(payload, self.spec)
        if self.rows is None:
            into[:] = self.data
        else:
            into[self.rows] = self.data

    def touched(self, chunk_size: int) -> set[int]:
        """Return the indices of the payload's chunks that `write` writes to."""
        if self.rows is None:
            return set(range(self.spec.start // chunk_size, -(-self.spec.end // chunk_size)))
        _, width = row_shape(self.spec)
        starts = self.spec.start + self.rows.astype(np.uint64) * np.uint64(width)
        found: set[int] = set()
        for within in (*range(0, width, chunk_size), width - 1):
            found.update(np.unique((starts + np.uint64(within)) // np.uint64(chunk_size)).tolist())
        return found


def row_shape(spec: TensorSpec) -> tuple[int, int]:
    """Return how many rows a tensor has and how many bytes a row; (0, 0) for an empty tensor."""
    elements = math.prod(spec.shape)
    if elements == 0:
        return 0, 0
    item = (spec.end - spec.start) // elements
    row = spec.shape[-1] if len(spec.shape) > 1 else 1
    return elements // row, row * item


def diff(
    specs: Sequence[TensorSpec], before: Buffer, after: Buffer, *, chunk_size: int, changed: set[int], budget: int
) -> bytes | None:
    """Return the patch set that makes ``before`` into ``after``; None if it would be longer than ``budget`` bytes.

    Args:
        specs: the tensors of both payloads.
        before: a payload.
        after: a payload of the same layout, whose bytes outside tensors are the same.
        chunk_size: bytes a chunk.
        changed: the indices of chunks that differ: no other bytes are looked at.
        budget: bytes. The comparison ends where it is exceeded, which for a dense update is early.
    """
    comparison = _Comparison(before, after, chunk_size, changed)
    found: list[tuple[int, npt.NDArray[Any] | None]] = []
    for tensor, spec in enumerate(specs):
        count, width = row_shape(spec)
        if not count:
            continue
        whole, one = count * width, width + _index_type(count).itemsize
        rows = comparison.rows(spec, most=min(budget, whole) // one)
        budget -= whole if rows is None else len(rows) * one
        if budget < 0:
            return None
        if rows is None or len(rows):
            found.append((tensor, rows))
    header = msgspec.json.encode([(tensor, WHOLE if rows is None else len(rows)) for tensor, rows in found])
    if _PREFIX + len(header) > budget:
        return None
    parts = [len(header).to_bytes(_PREFIX, "little"), header]
    for tensor, rows in found:
        data = _rows(after, specs[tensor])
        if rows is None:
            parts.append(data.tobytes())
        else:
            parts += [rows.astype(_index_type(len(data))).tobytes(), data[rows].tobytes()]
    return b"".join(parts)


@dataclass(frozen=True)
class _Comparison:
    """Two payloads of one layout, and the indices of the chunks in which they differ."""

    before: Buffer
    after: Buffer
    chunk_size: int
    changed: set[int]

    def rows(self, spec: TensorSpec, most: int) -> npt.NDArray[Any] | None:
        """The numbers of the rows that differ, ascending; None if they are more than ``most``."""
        count, width = row_shape(spec)
        word = math.gcd(width, 8)
        old, new = (
            np.frombuffer(of, f"u{word}", count * width // word, spec.start) for of in (self.before, self.after)
        )
        found: list[npt.NDArray[Any]] = [np.empty(0, np.int64)]
        step, words = max(1, _BLOCK // width), width // word
        for first in range(0, count, step):
            last = min(first + step, count)
            if self.changed.isdisjoint(self._chunks(spec.start + first * width, spec.start + last * width)):
                continue
            differs = np.flatnonzero(old[first * words : last * words] != new[first * words : last * words])
            rows = first + differs // words
            found.append(rows[np.diff(rows, prepend=-1) != 0])
            most -= len(found[-1])
            if most < 0:
                return None
        return np.concatenate(found)

    def _chunks(self, start: int, end: int) -> range:
        return range(start // self.chunk_size, (end - 1) // self.chunk_size + 1)


def parse(data: Buffer, specs: Sequence[TensorSpec]) -> list[Patch]:
    """Read a patch set, and check all of it: nothing is written from one that is not right throughout.

    Raises:
        DeltaError: it is not one for these tensors.
    """
    view = memoryview(data)
    position = _PREFIX + int.from_bytes(view[:_PREFIX], "little")
    try:
        header = _HEADER.decode(view[_PREFIX:position])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DeltaError(f"not a delta: {error}") from error
    patches: list[Patch] = []
    for tensor, rows in header:
        if not 0 <= tensor < len(specs):
            raise DeltaError(f"a delta names tensor {tensor} of {len(specs)}")
        patch, position = _parse_one(view, position, specs[tensor], rows)
        patches.append(patch)
    if position != len(view):
        raise DeltaError(f"a delta of {len(view)} bytes has {position} by its header")
    return patches


def _parse_one(view: memoryview, position: int, spec: TensorSpec, rows: int) -> tuple[Patch, int]:
    count, width = row_shape(spec)
    index, number = _index_type(count), count if rows == WHOLE else rows
    start = position if rows == WHOLE else position + number * index.itemsize
    end = start + number * width
    if not 0 < number <= count or end > len(view):
        raise DeltaError(f"a delta names {rows} rows of tensor {spec.name!r}, which has {count}, or ends within them")
    data = np.frombuffer(view, f"V{width}", number, start)
    if rows == WHOLE:
        return Patch(spec, None, data), end
    numbers = np.frombuffer(view, index, number, position)
    if numbers[-1] >= count or not bool((numbers[1:] > numbers[:-1]).all()):
        raise DeltaError(f"a delta's rows of tensor {spec.name!r} do not ascend to at most {count - 1}")
    return Patch(spec, numbers, data), end


def _rows(payload: Buffer, spec: TensorSpec) -> npt.NDArray[np.void]:
    """A tensor's rows, [N], as opaque bytes: copying one is copying memory."""
    count, width = row_shape(spec)
    return np.frombuffer(payload, f"V{width}", count, spec.start)


def _index_type(rows: int) -> np.dtype[Any]:
    return np.dtype("<u4" if rows <= 1 << 32 else "<u8")
