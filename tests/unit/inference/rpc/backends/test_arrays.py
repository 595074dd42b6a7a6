"""Requests' tensors as arrays, and back, of every datatype."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from headrace.contracts.oip import tensors
from services.inference.oip.messages import InputTensor, InvalidRequest
from services.inference.rpc.backends.arrays import ArrayOutput, column, dtype_of, objects
from services.inference.rpc.backends.breaker import Breaker
from services.inference.rpc.backends.port import TensorInfo

NUMBERS = [name for name in tensors.DATATYPES if name != "BYTES"]


@pytest.mark.parametrize("datatype", NUMBERS)
@given(st.data())
def test_bytes_of_numbers_come_back_as_they_came(datatype: str, data: st.DataObject) -> None:
    sent = data.draw(arrays.arrays(dtype_of(datatype), arrays.array_shapes(max_dims=3)))
    tensor = InputTensor("x", datatype, list(sent.shape), raw=sent.tobytes())
    found = column(tensor, TensorInfo("x", datatype, (-1,)))
    assert found.shape == sent.shape
    assert ArrayOutput("x", datatype, found).raw() == sent.tobytes()


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=9))
def test_texts_come_back_as_they_came(elements: list[bytes]) -> None:
    raw = tensors.encode("BYTES", elements)
    found = column(InputTensor("x", "BYTES", [len(elements)], raw=raw), TensorInfo("x", "BYTES", (-1,)))
    assert found.tolist() == elements
    assert ArrayOutput("x", "BYTES", found).raw() == raw


@pytest.mark.parametrize(
    ("datatype", "values", "bits"),
    [
        ("BF16", [1.0, -3.25, 2], [0x3F80, 0xC050, 0x4000]),
        ("FP16", [0.5, 2], np.array([0.5, 2], "f2").tolist()),
        ("INT8", [-128, 127], [-128, 127]),
        ("BOOL", [True, False], [True, False]),
        ("BYTES", ["ü", b"b"], ["ü".encode(), b"b"]),
    ],
)
def test_values_of_json_are_elements(datatype: str, values: list[Any], bits: list[Any]) -> None:
    found = column(InputTensor("x", datatype, [len(values)], values=values), TensorInfo("x", datatype, (-1,)))
    assert found.tolist() == bits
    if datatype != "BYTES":
        assert ArrayOutput("x", datatype, found).values == values


@pytest.mark.parametrize(
    ("datatype", "values"),
    [("INT8", [128]), ("UINT8", [-1]), ("INT64", [2**63]), ("INT32", [1.5]), ("BOOL", [1]), ("FP32", ["1"])],
)
def test_values_that_the_datatype_cannot_hold_are_refused(datatype: str, values: list[Any]) -> None:
    with pytest.raises(InvalidRequest, match=f"input 'x': .*{datatype}"):
        column(InputTensor("x", datatype, [1], values=values), TensorInfo("x", datatype, (-1,)))


def test_bytes_of_bool_other_than_0_are_true() -> None:
    found = column(InputTensor("x", "BOOL", [3], raw=b"\x00\x01\x07"), TensorInfo("x", "BOOL", (-1,)))
    assert found.tobytes() == b"\x00\x01\x01"


def test_a_list_of_lists_stays_one_dimension() -> None:
    assert objects([b"aa", b"bb"]).shape == (2,)


def test_a_breaker_opens_after_failures_in_a_row_lets_one_try_and_closes_when_it_succeeds() -> None:
    now = [0.0]
    breaker = Breaker(2, 5.0, lambda: now[0])
    assert breaker.admit()
    breaker.failed()
    assert breaker.admit()
    breaker.succeeded()
    for _ in range(2):
        assert breaker.admit()
        breaker.failed()
    assert breaker.open
    assert not breaker.admit()
    now[0] = 5.0
    assert not breaker.open
    assert breaker.admit()
    assert not breaker.admit()  # one at a time
    breaker.failed()
    assert breaker.open
    now[0] = 10.0
    assert breaker.admit()
    breaker.released()
    assert breaker.admit()
    breaker.succeeded()
    assert all(breaker.admit() for _ in range(3))
