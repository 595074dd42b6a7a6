"""REST as it is on the wire: status codes, error bodies, encodings and the binary extension."""

import gzip
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.rpc.rpc_process import Served

INFER = "/v2/models/trips/infer"
HEADER = "Inference-Header-Content-Length"


@pytest.fixture
def rest(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.endpoints["rest"], headers={"accept-encoding": "identity"}) as client:
        yield client


def inputs(**changes: Any) -> list[dict]:
    made = [
        {"name": "trip_id", "datatype": "BYTES", "shape": [2, 1], "data": [["a"], ["b"]]},
        {"name": "zone", "datatype": "INT64", "shape": [2, 1], "data": [3, 4]},
        {"name": "distance_km", "datatype": "FP64", "shape": [2], "data": [2, 2.5]},
        {"name": "raining", "datatype": "BOOL", "shape": [2, 1], "data": [True, False]},
        {"name": "kind", "datatype": "BYTES", "shape": [2, 1], "data": ["city", "country"]},
    ]
    for name, change in changes.items():
        next(i for i in made if i["name"] == name).update(change)
    return made


def expected(served: Served) -> list[float]:
    event = served.pipeline.model.event_type()
    return served.by_hand([event("a", 3, 2.0, True, "city"), event("b", 4, 2.5, False, "country")])


@pytest.mark.parametrize(
    "path", ["/v2/health/live", "/v2/health/ready", "/v2/models/trips/ready", "/v2/models/trips/versions/1/ready"]
)
def test_health_is_200_and_empty(rest: httpx.Client, path: str) -> None:
    response = rest.get(path)

    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize("path", ["/v2/models/nope/ready", "/v2/models/trips/versions/2/ready"])
def test_health_of_what_is_not_there_is_400(rest: httpx.Client, path: str) -> None:
    assert rest.get(path).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/v2/models/nope", 404, "Request for unknown model: 'nope' is not found"),
        (
            "GET",
            "/v2/models/trips/versions/7",
            404,
            "Request for unknown model: 'trips' version 7 is not found: kept are 1",
        ),
        ("GET", "/v2/models/nope/config", 404, "Request for unknown model: 'nope' is not found"),
        ("GET", "/v2/models/nope/stats", 400, "Request for unknown model: 'nope' is not found"),
        ("POST", "/v2/models/nope/infer", 404, "Request for unknown model: 'nope' is not found"),
        ("GET", INFER, 405, "Method Not Allowed"),
        ("POST", "/v2/health/live", 405, "Method Not Allowed"),
        ("GET", "/v2/no/such/path", 404, "Not Found"),
        ("GET", "/", 404, "Not Found"),
        ("POST", "/v2/repository/models/nope/load", 400, "failed to load 'nope', this server serves 'trips' alone"),
        ("GET", "/v2/systemsharedmemory/region/r/status", 400, "Unable to find shared memory region: 'r'"),
    ],
)
def test_every_error_has_its_status_and_a_body_that_says_why(rest: httpx.Client, method, path, status, error) -> None:
    response = rest.request(method, path, content=json.dumps({"inputs": inputs()}) if method == "POST" else None)

    assert (response.status_code, response.json()) == (status, {"error": error})


@pytest.mark.parametrize("path", ["/v2/repository/models/nope/unload", "/v2/cudasharedmemory/region/r/unregister"])
def test_undoing_what_was_never_done_is_200_and_empty(rest: httpx.Client, path: str) -> None:
    response = rest.post(path)

    assert (response.status_code, response.content) == (200, b"")


def test_the_index_is_a_bare_array(rest: httpx.Client) -> None:
    assert rest.post("/v2/repository/index").json() == [{"name": "trips", "version": "1", "state": "READY"}]


def test_json_in_json_out(rest: httpx.Client, served: Served) -> None:
    answer = rest.post(INFER, json={"id": "7", "inputs": inputs()}).json()

    assert answer.pop("parameters").keys() == {"checkpoint"}
    assert answer == {
        "model_name": "trips",
        "model_version": "1",
        "id": "7",
        "outputs": [{"name": "prediction", "datatype": "FP64", "shape": [2, 1], "data": expected(served)}],
    }


def test_no_id_is_answered_where_none_was_sent(rest: httpx.Client) -> None:
    assert "id" not in rest.post(INFER, json={"inputs": inputs()}).json()


def test_null_is_none_where_a_field_may_be_none(rest: httpx.Client, served: Served) -> None:
    tip = {"name": "tip", "datatype": "FP64", "shape": [2, 1], "data": [None, None]}

    answer = rest.post(INFER, json={"inputs": [*inputs(), tip]}).json()

    assert answer["outputs"][0]["data"] == expected(served)


BAD = {
    "no JSON": b"{",
    "no object": b"[]",
    "no inputs": b"{}",
    "inputs that are no array": b'{"inputs": 5}',
    "an input that is no object": b'{"inputs": [5]}',
    "an input without a name": b'{"inputs": [{}]}',
    "an empty list of inputs": b'{"inputs": []}',
    "JSON nested too deep": b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "too few elements": inputs(zone={"data": [3]}),
    "too many elements": inputs(zone={"data": [3, 4, 5]}),
    "uneven nesting": inputs(zone={"data": [[3], 4]}),
    "a negative dimension": inputs(zone={"shape": [-2, 1]}),
    "an overflowing shape": inputs(zone={"shape": [2**62, 2**62]}),
    "a dimension beyond 64 bits": inputs(zone={"shape": [2**70]}),
    "a shape of strings": inputs(zone={"shape": ["2"]}),
    "another rank": inputs(zone={"shape": [2, 1, 1]}),
    "batches that differ": inputs(zone={"shape": [1, 1], "data": [3]}),
    "an unknown datatype": inputs(zone={"datatype": "INT65"}),
    "no datatype": inputs(zone={"datatype": None}),
    "floats for integers": inputs(zone={"data": [3.5, 4]}),
    "booleans for integers": inputs(zone={"data": [True, False]}),
    "an integer beyond 64 bits": inputs(zone={"data": [2**63, 0]}),
    "numbers for text": inputs(kind={"data": [1, 2]}),
    "null in a field that may not be None": inputs(zone={"data": [None, 4]}),
    "no data": inputs(zone={"data": None}),
    "binary data without a header length": inputs(zone={"parameters": {"binary_data_size": 16}}),
    "shared memory": inputs(zone={"parameters": {"shared_memory_region": "r"}}),
}


@pytest.mark.parametrize("case", BAD)
def test_a_request_that_contradicts_itself_is_400(rest: httpx.Client, case: str) -> None:
    body = BAD[case]

    response = rest.post(INFER, content=body if isinstance(body, bytes) else json.dumps({"inputs": body}))

    assert response.status_code == 400, response.text
    assert isinstance(response.json()["error"], str)


def test_an_empty_batch_is_refused(rest: httpx.Client) -> None:
    empty = [{**i, "shape": [0, 1], "data": []} for i in inputs()]

    assert rest.post(INFER, json={"inputs": empty}).status_code == 400


@pytest.mark.parametrize(("coding", "encode"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_requests_are_read_and_answers_compressed_when_asked(rest, served, coding, encode) -> None:
    body = encode(json.dumps({"inputs": inputs()}).encode())

    response = rest.post(INFER, content=body, headers={"Content-Encoding": coding, "Accept-Encoding": coding})

    assert response.headers["Content-Encoding"] == coding
    assert response.json()["outputs"][0]["data"] == expected(served)


def test_an_unknown_coding_is_501_and_a_broken_body_400(rest: httpx.Client) -> None:
    assert rest.post(INFER, content=b"x", headers={"Content-Encoding": "br"}).status_code == 501
    assert rest.post(INFER, content=b"x", headers={"Content-Encoding": "gzip"}).status_code == 400
    cut = gzip.compress(json.dumps({"inputs": inputs()}).encode())[:-9]
    assert rest.post(INFER, content=cut, headers={"Content-Encoding": "gzip"}).status_code == 400


def binary_request(outputs: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    text = [b"a", b"b"]
    parts = {
        "trip_id": b"".join(struct.pack("<I", len(t)) + t for t in text),
        "zone": struct.pack("<2q", 3, 4),
        "distance_km": struct.pack("<2d", 2, 2.5),
        "raining": b"\x01\x00",
    }
    made = inputs()
    for one in made:
        if one["name"] in parts:
            del one["data"]
            one["parameters"] = {"binary_data_size": len(parts[one["name"]])}
    header = json.dumps({"inputs": made, **outputs}).encode()
    return header + b"".join(parts.values()), {HEADER: str(len(header))}


@pytest.mark.parametrize(
    "outputs",
    [
        {"outputs": [{"name": "prediction", "parameters": {"binary_data": True}}]},
        {"parameters": {"binary_data_output": True}},
    ],
)
def test_binary_in_binary_out(rest: httpx.Client, served: Served, outputs: dict) -> None:
    body, headers = binary_request(outputs)

    response = rest.post(INFER, content=body, headers=headers)

    length = int(response.headers[HEADER])
    output = json.loads(response.content[:length])["outputs"][0]
    assert output["parameters"] == {"binary_data_size": 16}
    assert list(struct.unpack("<2d", response.content[length:])) == expected(served)


def test_binary_in_json_out(rest: httpx.Client, served: Served) -> None:
    body, headers = binary_request({})

    response = rest.post(INFER, content=body, headers=headers)

    assert HEADER not in response.headers
    assert response.json()["outputs"][0]["data"] == expected(served)


def test_binary_data_must_add_up(rest: httpx.Client) -> None:
    body, headers = binary_request({})

    assert rest.post(INFER, content=body + b"x", headers=headers).status_code == 400
    assert rest.post(INFER, content=body[:-1], headers=headers).status_code == 400
    assert rest.post(INFER, content=body, headers={HEADER: "-1"}).status_code == 400
    assert rest.post(INFER, content=body, headers={HEADER: "999999"}).status_code == 400


def test_a_raw_body_needs_a_model_of_one_input(rest: httpx.Client) -> None:
    response = rest.post(INFER, content=b"12345678", headers={HEADER: "0"})

    assert response.status_code == 400
    assert "must only have 1 input (found 7)" in response.json()["error"]


def test_its_documentation_is_there_and_its_example_is_answered(rest: httpx.Client) -> None:
    assert "swagger-ui-bundle.js" in rest.get("/docs").text
    described = rest.get("/openapi.json").json()
    assert described["info"]["title"] == "Headrace: model trips"
    assert set(described["components"]["schemas"]["Output_prediction"]["properties"]) >= {"name", "datatype", "shape"}
    example = {"inputs": inputs()}
    assert rest.post(INFER, json=example).status_code == 200
    assert [one["name"] for one in described["components"]["schemas"]["InferRequest"]["example"]["inputs"]] == [
        one["name"] for one in example["inputs"]
    ]
