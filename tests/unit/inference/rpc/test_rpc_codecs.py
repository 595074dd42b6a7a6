"""Bodies and messages to requests: whatever comes, it is a request or an error of the protocol."""

import contextlib
import json
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.oip import service_pb2 as pb
from services.inference.oip.events import EventSchema
from services.inference.oip.grpc_codec import parse_infer as parse_message
from services.inference.oip.messages import InferAnswer, InvalidRequest, OipError, OutputTensor
from services.inference.oip.rest_codec import (
    HEADER_LENGTH,
    BinaryOutputs,
    compress,
    decompress,
    parse_infer,
    render_answer,
)


class Event(msgspec.Struct):
    id: str
    x: float
    n: int = 0


SCHEMA = EventSchema("m", Event)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "name": st.sampled_from(["id", "x", "n", "?"]) | VALUES,
    "datatype": st.sampled_from(["BYTES", "FP64", "INT64", "FP32", "?"]) | VALUES,
    "shape": st.lists(st.integers(-2, 3), max_size=3) | VALUES,
    "data": st.lists(SCALARS, max_size=3) | VALUES,
    "parameters": st.dictionaries(st.sampled_from(["binary_data_size", "shared_memory_region"]), SCALARS, max_size=2)
    | VALUES,
}
INPUT = st.fixed_dictionaries({}, optional=FIELDS) | VALUES
BODY = st.fixed_dictionaries(
    {"inputs": st.lists(INPUT, max_size=4) | VALUES}, optional={"outputs": VALUES, "id": VALUES, "parameters": VALUES}
)


@given(BODY, st.binary(max_size=20), st.booleans())
def test_any_json_is_a_request_or_an_error_of_the_protocol(body: dict, tail: bytes, binary: bool) -> None:
    header = json.dumps(body).encode()
    length = str(len(header)) if binary else None
    with contextlib.suppress(OipError):
        request, _ = parse_infer("m", "", header + tail if binary else header, length, SCHEMA.inputs)
        assert all(isinstance(event, Event) for event in SCHEMA.events(request.inputs))


TENSORS = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=st.sampled_from(["id", "x", "n", "?"]),
    datatype=st.sampled_from(["BYTES", "FP64", "INT64", "FP32", "FP16", ""]),
    shape=st.lists(st.integers(-2, 3), max_size=3),
    contents=st.none()
    | st.builds(
        pb.InferTensorContents,
        fp64_contents=st.lists(st.floats(), max_size=2),
        int64_contents=st.lists(st.integers(-5, 5), max_size=2),
        bytes_contents=st.lists(st.binary(max_size=4), max_size=2),
    ),
)
MESSAGES = st.builds(
    pb.ModelInferRequest,
    model_name=st.just("m"),
    inputs=st.lists(TENSORS, max_size=4),
    raw_input_contents=st.lists(st.binary(max_size=12), max_size=4),
)


@given(MESSAGES)
def test_any_message_is_a_request_or_an_error_of_the_protocol(message: pb.ModelInferRequest) -> None:
    with contextlib.suppress(OipError):
        assert all(isinstance(event, Event) for event in SCHEMA.events(parse_message(message).inputs))


@given(st.binary(max_size=500), st.sampled_from(["gzip", "deflate"]))
def test_what_is_compressed_is_decompressed(body: bytes, coding: str) -> None:
    assert decompress(compress(body, coding), coding) == body


def test_outputs_may_be_bytes_and_json_in_one_answer() -> None:
    outputs = [OutputTensor("a", "FP64", [1, 1], [1.5]), OutputTensor("b", "BYTES", [1, 1], [b"\xc3\xa9"])]
    answer = InferAnswer("m", 7, "c", outputs)

    body, length = render_answer(answer, BinaryOutputs(named={"a": True}))

    header = json.loads(body[:length])
    assert header["outputs"] == [
        {"name": "a", "datatype": "FP64", "shape": [1, 1], "parameters": {"binary_data_size": 8}},
        {"name": "b", "datatype": "BYTES", "shape": [1, 1], "data": ["é"]},
    ]
    assert len(body) - (length or 0) == 8
    assert HEADER_LENGTH == "Inference-Header-Content-Length"


def test_the_classification_extension_is_refused() -> None:
    wish = {"inputs": [], "outputs": [{"name": "y", "parameters": {"classification": 3}}]}

    with pytest.raises(InvalidRequest, match="classification"):
        parse_infer("m", "", orjson.dumps(wish), None, [])
