"""NaN, infinity and integers beyond 64 bits in v2 tensors are refused, by tensor and element, on every transport."""

import json
import math
import struct
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.oip import service_pb2 as pb
from headrace.contracts.oip import tensors
from services.inference.oip.events import EventSchema
from services.inference.oip.grpc_codec import parse_infer as parse_message
from services.inference.oip.messages import InputTensor, InvalidRequest, ModelFailed
from services.inference.oip.predictions import PredictionSchema
from services.inference.oip.rest_codec import parse_infer


class Place(msgspec.Struct):
    lat: float
    floor: int = 0


class Event(msgspec.Struct):
    x: float
    n: int = 0
    rain: float | None = None
    series: list[float] = []
    place: Place | None = None
    price: Decimal = Decimal(0)
    note: str = ""


SCHEMA = EventSchema("m", Event)


def raw(name: str, values: list[float], shape: tuple[int, ...] | None = None) -> InputTensor:
    return InputTensor(name, "FP64", shape or (len(values),), raw=tensors.encode("FP64", values))


def rest(*inputs: dict[str, Any]) -> list[Any]:
    """The events of a REST body, NaN and infinity written as Python's `json` writes them."""
    request, _ = parse_infer("m", "", json.dumps({"inputs": inputs}).encode(), None, SCHEMA.inputs)
    return SCHEMA.events(request.inputs)


def binary(name: str, values: list[float]) -> list[Any]:
    """The events of a REST body with binary data."""
    data = struct.pack(f"<{len(values)}d", *values)
    tensor = {
        "name": name, "datatype": "FP64", "shape": [len(values)], "parameters": {"binary_data_size": len(data)},
    }  # fmt: skip
    header = json.dumps({"inputs": [tensor]}).encode()
    request, _ = parse_infer("m", "", header + data, str(len(header)), SCHEMA.inputs)
    return SCHEMA.events(request.inputs)


def typed(name: str, values: list[float]) -> list[Any]:
    """The events of a gRPC message with typed contents."""
    contents = pb.InferTensorContents(fp64_contents=values)
    tensor = pb.ModelInferRequest.InferInputTensor(name=name, datatype="FP64", shape=[len(values)], contents=contents)
    return SCHEMA.events(parse_message(pb.ModelInferRequest(model_name="m", inputs=[tensor])).inputs)


def raw_message(name: str, values: list[float]) -> list[Any]:
    """The events of a gRPC message with raw contents."""
    tensor = pb.ModelInferRequest.InferInputTensor(name=name, datatype="FP64", shape=[len(values)])
    message = pb.ModelInferRequest(
        model_name="m", inputs=[tensor], raw_input_contents=[struct.pack(f"<{len(values)}d", *values)]
    )
    return SCHEMA.events(parse_message(message).inputs)


def in_json(name: str, values: list[float]) -> list[Any]:
    """The events of a REST body with JSON data."""
    return rest({"name": name, "datatype": "FP64", "shape": [len(values)], "data": values})


TRANSPORTS = [in_json, binary, typed, raw_message]


@pytest.mark.parametrize("send", TRANSPORTS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 2])
def test_a_number_that_is_not_finite_is_refused_by_tensor_and_element(send: Any, bad: float, place: int) -> None:
    values = [1.0, 2.0, 3.0]
    values[place] = bad
    with pytest.raises(
        InvalidRequest, match=rf"input 'x'.*: element {place}: -?(nan|NaN|inf|Infinity), expected a fin"
    ):
        send("x", values)
    with pytest.raises(InvalidRequest, match=r"input 'x'.*: element 0: "):
        send("x", [bad])


@pytest.mark.parametrize("send", [binary, typed, raw_message])
def test_nan_is_none_where_a_float_may_be_none_and_infinity_is_not(send: Any) -> None:
    """Not in JSON, which has null for it."""
    schema = EventSchema("m", Event)
    values = [math.nan, 0.0, 1.5]
    made = schema.events([raw("x", [1.0, 2.0, 3.0]), raw("rain", values)])
    assert [event.rain for event in made] == [None, 0.0, 1.5]
    with pytest.raises(InvalidRequest, match=r"input 'rain'.*: element 1: inf, expected a finite number"):
        schema.events([raw("x", [1.0, 2.0]), raw("rain", [math.nan, math.inf])])


def test_null_beside_numbers_is_none_and_infinity_is_found_among_them() -> None:
    x = {"name": "x", "datatype": "FP64", "shape": [3], "data": [1, 2, 3]}
    made = rest(x, {"name": "rain", "datatype": "FP64", "shape": [3], "data": [None, 0.0, 5]})
    assert [event.rain for event in made] == [None, 0.0, 5.0]
    with pytest.raises(InvalidRequest, match="input 'rain': element 1: 1e999, expected a finite number"):
        parse_infer("m", "", b'{"inputs":[{"name":"rain","data":[null,1e999]}]}', None, SCHEMA.inputs)


def test_in_a_row_of_several_elements_the_row_and_the_column_are_named() -> None:
    x = raw("x", [1.0, 2.0])
    assert [e.series for e in SCHEMA.events([x, raw("series", [1.0, 2.0, 3.0, 4.0], (2, 2))])] == [
        [1.0, 2.0],
        [3.0, 4.0],
    ]
    with pytest.raises(InvalidRequest, match=r"input 'series'.*: element \[1, 0\]: nan, expected a finite number"):
        SCHEMA.events([x, raw("series", [1.0, 2.0, math.nan, 4.0], (2, 2))])


def test_null_in_a_row_of_several_elements_is_refused() -> None:
    class Listed(msgspec.Struct):
        series: list[float] | None = None

    null = InputTensor("series", "FP64", (1, 2), values=[1.0, None], nulls=True)
    with pytest.raises(InvalidRequest, match="input 'series' holds null"):
        EventSchema("m", Listed).events([null])


def test_sums_beyond_a_float_are_no_problem() -> None:
    large = [1.7976931348623157e308] * 3
    for send in TRANSPORTS:
        assert [event.x for event in send("x", large)] == large


@pytest.mark.parametrize("value", [2**63, 2**64 - 1, -(2**63) - 1, 2**64, 10**30])
def test_integers_beyond_64_bits_are_refused(value: int) -> None:
    """From 2**64 on the parser makes floats of them, which INT64 does not take."""
    x = {"name": "x", "datatype": "FP64", "shape": [2], "data": [1, 2]}
    with pytest.raises(
        InvalidRequest, match=r"input 'n'.*(element 1: \d+ is beyond 64 bits|INT64 from JSON values of type)"
    ):
        rest(x, {"name": "n", "datatype": "INT64", "shape": [2], "data": [5, value]})
    assert rest(x, {"name": "n", "datatype": "INT64", "shape": [2], "data": [2**63 - 1, -(2**63)]})[0].n == 2**63 - 1


def element(name: str, values: list[bytes]) -> list[InputTensor]:
    sent = InputTensor(name, "BYTES", (len(values),), raw=tensors.encode("BYTES", values))
    return [raw("x", [1.0] * len(values)), sent]


@pytest.mark.parametrize(
    ("name", "bad", "says"),
    [
        ("place", b'{"lat":NaN}', "element 1: lat: NaN, expected a finite number"),
        ("place", b'{"lat":1e999}', "element 1: lat: 1e999, expected a finite number"),
        (
            "place",
            b'{"lat":1,"floor":18446744073709551616}',
            "element 1: floor: 18446744073709551616 is beyond 64 bits",
        ),
        ("place", b'{"lat":"x"}', "element 1: lat: Expected `float`, got `str`"),
        ("place", b"{", "element 1: Input data was truncated"),
        ("price", b"NaN", "element 1: NaN, expected a finite number"),
        ("price", b"-Infinity", "element 1: -Infinity, expected a finite number"),
        ("note", b"\xff", "element 1: not UTF-8"),
    ],
)
def test_an_element_of_bytes_is_named(name: str, bad: bytes, says: str) -> None:
    good = {"place": b'{"lat":1}', "price": b"1.5", "note": b"ok"}[name]
    assert len(SCHEMA.events(element(name, [good, good]))) == 2
    with pytest.raises(InvalidRequest) as error:
        SCHEMA.events(element(name, [good, bad]))
    assert str(error.value) == f"input '{name}' for model 'm': {says}"


class Row(msgspec.Struct):
    a: int
    b: float
    c: float | None
    d: list[float]


@given(st.lists(st.tuples(
    st.integers(-(2**63), 2**63 - 1), st.floats(), st.none() | st.floats(),
    st.lists(st.floats(), min_size=2, max_size=2),
), min_size=1, max_size=8))  # fmt: skip
def test_what_tensors_give_is_what_they_hold_and_what_readers_see(rows: list[Any]) -> None:
    a, b, c, d = zip(*rows, strict=True)
    optional = [math.nan if v is None else v for v in c]
    sent = [
        InputTensor("a", "INT64", (len(rows),), raw=tensors.encode("INT64", a)),
        raw("b", list(b)),
        raw("c", optional),
        raw("d", [v for row in d for v in row], (len(rows), 2)),
    ]
    bad = any(not math.isfinite(v) for v in (*b, *(v for row in d for v in row))) or any(map(math.isinf, optional))
    if bad:
        with pytest.raises(InvalidRequest, match="expected a finite number"):
            EventSchema("m", Row).events(sent)
        return
    expected = [Row(i, x, None if o is None or math.isnan(o) else o, list(s)) for i, x, o, s in rows]
    made = EventSchema("m", Row).events(sent)
    assert made == expected
    assert [msgspec.json.decode(msgspec.json.encode(event), type=Row) for event in made] == expected


# --- what a model answers ---


class Scored(msgspec.Struct):
    score: float
    scores: list[float] = []
    spread: float | None = None


@pytest.mark.parametrize(
    ("kind", "rows", "says"),
    [
        (float, [1.0, math.nan], "output 'prediction' of model 'm' for event 1: nan"),
        (float, [math.inf, 1.0], "output 'prediction' of model 'm' for event 0: inf"),
        (
            Scored,
            [Scored(1.0, [1.0, 1.0]), Scored(1.0, [1.0, -math.inf])],
            "output 'scores' of model 'm' for event 1: -inf",
        ),
    ],
)
def test_a_prediction_that_is_not_finite_is_the_models_fault(kind: Any, rows: list[Any], says: str) -> None:
    """On the stream it is a dead letter; in JSON it would be null."""
    with pytest.raises(ModelFailed, match=says):
        PredictionSchema("m", kind).tensors(rows, [])


def test_predictions_whose_sum_is_beyond_a_float_are_good() -> None:
    large = [1.7976931348623157e308] * 3
    assert PredictionSchema("m", float).tensors(large, [])[0].values == large
