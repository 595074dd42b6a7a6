"""NaN, infinity and integers beyond 64 bits are refused on the wire, by tensor and element."""

import json
import math
import struct
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest

from headrace.contracts.oip import service_pb2 as pb
from headrace.contracts.oip.service_pb2_grpc import GRPCInferenceServiceStub
from tests.integration.rpc.rpc_process import Served

INFER = "/v2/models/trips/infer"
LENGTH = "Inference-Header-Content-Length"
BAD = pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])


@pytest.fixture
def rest(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.endpoints["rest"]) as client:
        yield client


def tensors(distances: list[float]) -> list[dict[str, Any]]:
    rows = len(distances)
    return [
        {"name": "trip_id", "datatype": "BYTES", "shape": [rows], "data": ["a"] * rows},
        {"name": "zone", "datatype": "INT64", "shape": [rows], "data": [3] * rows},
        {"name": "raining", "datatype": "BOOL", "shape": [rows], "data": [True] * rows},
        {"name": "kind", "datatype": "BYTES", "shape": [rows], "data": ["city"] * rows},
        {"name": "distance_km", "datatype": "FP64", "shape": [rows], "data": distances},
    ]


@BAD
def test_rest_refuses_them_in_json(rest: httpx.Client, bad: float) -> None:
    answer = rest.post(INFER, content=json.dumps({"inputs": tensors([1.0, bad])}))
    said = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(bad)]
    assert answer.status_code == 400
    assert answer.json() == {"error": f"input 'distance_km': element 1: {said}, expected a finite number"}


@BAD
def test_rest_refuses_them_in_binary_data(rest: httpx.Client, bad: float) -> None:
    inputs = tensors([1.0, bad])
    inputs[-1] = {key: value for key, value in inputs[-1].items() if key != "data"}
    inputs[-1]["parameters"] = {"binary_data_size": 16}
    header = json.dumps({"inputs": inputs}).encode()
    answer = rest.post(INFER, content=header + struct.pack("<2d", 1.0, bad), headers={LENGTH: str(len(header))})
    assert answer.status_code == 400
    said = f"input 'distance_km' for model 'trips': element 1: {bad}, expected a finite number"
    assert answer.json() == {"error": said}


@BAD
@pytest.mark.parametrize("raw", [False, True])
def test_grpc_refuses_them_in_typed_and_in_raw_contents(served: Served, bad: float, *, raw: bool) -> None:
    packed = {
        "BYTES": lambda v: b"".join(struct.pack("<I", len(x)) + x.encode() for x in v),
        "INT64": lambda v: struct.pack("<2q", *v), "BOOL": lambda v: struct.pack("<2?", *v),
        "FP64": lambda v: struct.pack("<2d", *v),
    }  # fmt: skip
    request = pb.ModelInferRequest(model_name="trips")
    for one in tensors([1.0, bad]):
        tensor = request.inputs.add(name=one["name"], datatype=one["datatype"], shape=[2])
        if raw:
            request.raw_input_contents.append(packed[one["datatype"]](one["data"]))
        elif one["datatype"] == "BYTES":
            tensor.contents.bytes_contents.extend(v.encode() for v in one["data"])
        else:
            getattr(tensor.contents, f"{one['datatype'].lower()}_contents").extend(one["data"])
    with grpc.insecure_channel(served.grpc) as channel, pytest.raises(grpc.RpcError) as error:
        GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
    said = f"input 'distance_km' for model 'trips': element 1: {bad}, expected a finite number"
    assert error.value.details() == said  # type: ignore[attr-defined]


def test_integers_beyond_64_bits_are_refused(rest: httpx.Client) -> None:
    inputs = tensors([1.0, 2.0])
    inputs[1]["data"] = [3, 2**63]
    answer = rest.post(INFER, content=json.dumps({"inputs": inputs}))
    assert (answer.status_code, answer.json()) == (
        400, {"error": "input 'zone': element 1: 9223372036854775808 is beyond 64 bits"},
    )  # fmt: skip
