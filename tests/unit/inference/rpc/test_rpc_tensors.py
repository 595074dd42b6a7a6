"""The bytes of tensors: round trips, and everything that does not add up."""

import contextlib
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.oip import tensors
from headrace.contracts.oip.tensors import TensorError

COLUMNS = {
    "BOOL": st.booleans(),
    "INT64": st.integers(-(2**63), 2**63 - 1),
    "INT8": st.integers(-128, 127),
    "UINT64": st.integers(0, 2**64 - 1),
    "FP64": st.floats(allow_nan=False),
    "FP32": st.floats(width=32, allow_nan=False),
    "BYTES": st.binary(max_size=40),
}


@given(st.sampled_from(sorted(COLUMNS)).flatmap(lambda d: st.tuples(st.just(d), st.lists(COLUMNS[d], max_size=30))))
def test_what_is_encoded_is_decoded(column: tuple[str, list]) -> None:
    datatype, values = column

    assert tensors.decode(datatype, len(values), tensors.encode(datatype, values)) == values


def test_nan_survives() -> None:
    assert math.isnan(tensors.decode("FP64", 1, tensors.encode("FP64", [math.nan]))[0])


def test_bytes_are_little_endian_and_preceded_by_their_length() -> None:
    assert tensors.encode("BYTES", ["é", b"ab"]) == b"\x02\x00\x00\x00\xc3\xa9\x02\x00\x00\x00ab"
    assert tensors.encode("INT64", [1, -2]) == struct.pack("<2q", 1, -2)


@given(st.binary(max_size=64), st.integers(0, 5), st.sampled_from(sorted(COLUMNS)))
def test_any_bytes_are_decoded_or_refused(raw: bytes, count: int, datatype: str) -> None:
    with contextlib.suppress(TensorError):
        assert len(tensors.decode(datatype, count, raw)) == count


@pytest.mark.parametrize(
    ("datatype", "count", "raw"),
    [
        ("INT64", 1, b"1234"),
        ("INT64", 0, b"12345678"),
        ("FP64", 2, b"12345678"),
        ("BYTES", 1, b""),
        ("BYTES", 1, b"\x01"),
        ("BYTES", 1, b"\x02\x00\x00\x00a"),
        ("BYTES", 1, b"\xff\xff\xff\xffa"),
        ("BYTES", 1, b"\x00\x00\x00\x00\x00\x00\x00\x00"),
        ("COMPLEX", 1, b"12345678"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(datatype: str, count: int, raw: bytes) -> None:
    with pytest.raises(TensorError):
        tensors.decode(datatype, count, raw)


@pytest.mark.parametrize("shape", [[-1], [2, -3], [2**31], [2**40, 2**40]])
def test_shapes_that_cannot_be_are_refused(shape: list[int]) -> None:
    with pytest.raises(TensorError):
        tensors.element_count(shape)


@pytest.mark.parametrize(
    ("datatype", "values"), [("INT64", ["x"]), ("INT64", [2**63]), ("FP64", [None, "a"]), ("BYTES", [5])]
)
def test_values_that_a_datatype_cannot_hold_are_refused(datatype: str, values: list) -> None:
    with pytest.raises(TensorError):
        tensors.encode(datatype, values)
