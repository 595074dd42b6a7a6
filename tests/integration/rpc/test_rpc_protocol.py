"""What docs/protocol-v2.md lists and no other test shows: plain REST by httpx, and gRPC by our own proto modules."""

import json
import uuid
from collections.abc import Iterator
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import grpc
import httpx
import pytest

from headrace.contracts.oip import service_pb2 as pb
from headrace.contracts.oip.service_pb2_grpc import GRPCInferenceServiceStub
from tests.integration.rpc.rpc_process import Served
from tests.integration.rpc.test_rpc_grpc import raw, typed
from tests.integration.rpc.test_rpc_rest import INFER, inputs

EVENT = {"trip_id": "a", "zone": 3, "distance_km": 2.5, "raining": True, "kind": "city"}
STAGES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")


@pytest.fixture
def rest(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.endpoints["rest"]) as client:
        yield client


@pytest.fixture
def stub(served: Served) -> Iterator[Any]:
    with grpc.insecure_channel(served.grpc) as channel:
        yield GRPCInferenceServiceStub(channel)


def expected(served: Served) -> float:
    return served.by_hand([served.pipeline.model.event_type()(**EVENT)])[0]


# REST.


def test_the_servers_metadata_over_rest(rest: httpx.Client) -> None:
    told = rest.get("/v2").json()

    assert set(told) == {"name", "version", "extensions"}
    assert {"generate", "model_configuration", "system_shared_memory"} <= set(told["extensions"])


@pytest.mark.parametrize("path", ["/v2/models/trips", "/v2/models/trips/versions/1"])
def test_the_models_metadata_over_rest(rest: httpx.Client, path: str) -> None:
    told = rest.get(path).json()

    assert set(told) == {"name", "versions", "platform", "inputs", "outputs"}
    assert told["outputs"] == [{"name": "prediction", "datatype": "FP64", "shape": [-1, 1]}]


def test_the_configuration_has_the_protos_field_names_and_dims_without_the_batch(rest: httpx.Client) -> None:
    told = rest.get("/v2/models/trips/versions/1/config").json()

    assert told["max_batch_size"] == 4096
    assert (told["input"][2]["data_type"], told["input"][2]["dims"]) == ("TYPE_FP64", [1])


@pytest.mark.parametrize("path", ["/v2/models/stats", "/v2/models/trips/stats", "/v2/models/trips/versions/1/stats"])
def test_statistics_are_unsigned_integers_and_the_version_is_an_integers_text(rest: httpx.Client, path: str) -> None:
    (told,) = rest.get(path).json()["model_stats"]

    assert (told["name"], told["version"]) == ("trips", "1")
    counts = [told["inference_stats"][stage][part] for stage in STAGES for part in ("count", "ns")]
    assert all(type(count) is int and count >= 0 for count in counts)


def test_the_queues_count_rises_with_every_request(rest: httpx.Client) -> None:
    def queued() -> int:
        return int(rest.get("/v2/models/trips/stats").json()["model_stats"][0]["inference_stats"]["queue"]["count"])

    before = queued()
    for _ in range(3):
        assert rest.post(INFER, json={"inputs": inputs()}).status_code == 200

    assert queued() - before == 3


def test_loading_and_unloading_are_200_and_empty(rest: httpx.Client) -> None:
    try:
        answers = [rest.post(f"/v2/repository/models/trips/{what}") for what in ("unload", "load")]
    finally:
        rest.post("/v2/repository/models/trips/load")

    assert [(one.status_code, one.content) for one in answers] == [(200, b"")] * 2


def test_shared_memory_is_registered_listed_and_unregistered_over_rest(rest: httpx.Client) -> None:
    system, key = "/v2/systemsharedmemory", f"protocol-{uuid.uuid4().hex[:8]}"
    memory = SharedMemory(key, create=True, size=64)
    try:
        wanted = {"key": f"/{key}", "offset": 0, "byte_size": 64}
        assert rest.post(f"{system}/region/r/register", json=wanted).status_code == 200
        assert rest.get(f"{system}/status").json() == rest.get(f"{system}/region/r/status").json()
        assert rest.get(f"{system}/status").json() == [{"name": "r", **wanted}]
        assert rest.post(f"{system}/region/r/unregister").status_code == 200
        assert rest.get(f"{system}/status").json() == []
        assert rest.post(f"{system}/unregister").status_code == 200
    finally:
        memory.close()
        memory.unlink()


def test_cuda_shared_memory_over_rest_is_empty_and_cannot_be_registered(rest: httpx.Client) -> None:
    cuda = "/v2/cudasharedmemory"

    assert rest.get(f"{cuda}/status").json() == []
    assert rest.get(f"{cuda}/region/r/status").status_code == 400
    assert rest.post(f"{cuda}/unregister").status_code == 200
    refused = rest.post(f"{cuda}/region/r/register", json={})
    assert (refused.status_code, list(refused.json())) == (501, ["error"])


@pytest.mark.parametrize("path", ["/v2/logging", "/v2/trace/setting", "/v2/models/trips/trace/setting"])
def test_settings_are_told_and_taken_as_they_are(rest: httpx.Client, path: str) -> None:
    told = rest.get(path)

    assert told.status_code == 200
    assert rest.post(path, json={}).json() == told.json()


@pytest.mark.parametrize("parameters", [{"unknown": 1}, {"binary_data_output": False, "x": "y"}])
def test_unknown_parameters_are_tolerated(rest: httpx.Client, parameters: dict) -> None:
    assert rest.post(INFER, json={"inputs": inputs(), "parameters": parameters}).status_code == 200


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"inputs": inputs()[1:]}, "trip_id"),
        ({"inputs": [*inputs(), {**inputs()[0], "name": "colour"}]}, "colour"),
        ({"inputs": [*inputs(), inputs()[0]]}, "already exists"),
        ({"inputs": inputs(zone={"datatype": "INT32"})}, "INT32"),
        ({"outputs": [{"name": "nope"}]}, "nope"),
    ],
)
def test_what_does_not_fit_the_metadata_is_400_and_named(rest: httpx.Client, changes: dict, says: str) -> None:
    response = rest.post(INFER, json={"inputs": inputs(), **changes})

    assert response.status_code == 400
    assert says in response.json()["error"]


def test_a_named_output_is_the_one_that_is_answered(rest: httpx.Client, served: Served) -> None:
    answer = rest.post(INFER, json={"inputs": inputs(), "outputs": [{"name": "prediction"}]}).json()

    assert [one["name"] for one in answer["outputs"]] == ["prediction"]


# Generate.


@pytest.mark.parametrize("prefix", ["/v2/models/trips", "/v2/models/trips/versions/1"])
def test_an_event_as_a_plain_object_is_answered_by_its_prediction(rest: httpx.Client, served, prefix: str) -> None:
    answer = rest.post(f"{prefix}/generate", json={"id": "7", **EVENT, "unknown": 1}).json()

    assert answer.pop("parameters").keys() == {"checkpoint"}
    assert answer == {"model_name": "trips", "model_version": "1", "id": "7", "prediction": expected(served)}


def test_the_stream_of_a_generated_answer_is_server_sent_events(rest: httpx.Client, served: Served) -> None:
    response = rest.post("/v2/models/trips/generate_stream", json=EVENT)

    assert response.headers["content-type"].startswith("text/event-stream")
    (event,) = response.text.removesuffix("\n\n").split("\n\n")
    assert json.loads(event.removeprefix("data: "))["prediction"] == expected(served)


@pytest.mark.parametrize("what", ["generate", "generate_stream"])
@pytest.mark.parametrize(
    ("model", "body", "status"),
    [
        ("nope", EVENT, 404),
        ("trips", {**EVENT, "zone": 3.5}, 400),
        ("trips", {**EVENT, "zone": [3, 4]}, 400),
        ("trips", {"zone": 3}, 400),
        ("trips", {**EVENT, "id": 7}, 400),
        ("trips", [], 400),
        ("trips", {**EVENT, "note": "explode"}, 500),
    ],
)
def test_an_event_that_cannot_be_answered_has_its_status_and_a_reason(rest, what, model, body, status) -> None:
    response = rest.post(f"/v2/models/{model}/{what}", json=body)

    assert (response.status_code, list(response.json())) == (status, ["error"])


# gRPC by our own proto modules.


def test_an_unknown_model_is_not_ready_which_is_no_error(stub: Any) -> None:
    ready = [stub.ModelReady(pb.ModelReadyRequest(name=name)).ready for name in ("trips", "nope")]

    assert ready == [True, False]
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready


def test_metadata_configuration_and_statistics_over_grpc(stub: Any) -> None:
    assert "model_configuration" in stub.ServerMetadata(pb.ServerMetadataRequest()).extensions
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="trips", version="1"))
    assert [(one.name, list(one.shape)) for one in metadata.outputs] == [("prediction", [-1, 1])]
    config = stub.ModelConfig(pb.ModelConfigRequest(name="trips")).config
    assert (config.max_batch_size, list(config.input[2].dims)) == (4096, [1])
    (counted,) = stub.ModelStatistics(pb.ModelStatisticsRequest(name="trips")).model_stats
    assert counted.inference_stats.HasField("cache_hit")
    assert counted.inference_stats.HasField("cache_miss")


def test_the_repository_over_grpc(stub: Any) -> None:
    def index(ready: bool) -> list[tuple[str, str, str]]:
        listed = stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=ready)).models
        return [(one.name, one.version, one.state) for one in listed]

    assert index(ready=False) == [("trips", "1", "READY")]
    stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="trips"))
    try:
        assert index(ready=True) == []
    finally:
        stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="trips"))
    assert index(ready=True) == [("trips", "1", "READY")]
    stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="nope"))
    with pytest.raises(grpc.RpcError, match="failed to load 'nope'"):
        stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="nope"))


def test_shared_memory_trace_and_log_settings_over_grpc(stub: Any) -> None:
    assert not stub.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest()).regions
    assert not stub.CudaSharedMemoryStatus(pb.CudaSharedMemoryStatusRequest()).regions
    stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest())
    stub.CudaSharedMemoryUnregister(pb.CudaSharedMemoryUnregisterRequest())
    assert "trace_level" in stub.TraceSetting(pb.TraceSettingRequest()).settings
    assert "log_info" in stub.LogSettings(pb.LogSettingsRequest()).settings


def _changed(**changes: Any) -> pb.ModelInferRequest:
    request = raw()
    for name, value in changes.items():
        setattr(request, name, value)
    return request


def _without_zone() -> pb.ModelInferRequest:
    request = typed()
    del request.inputs[1]
    return request


def _other_datatype() -> pb.ModelInferRequest:
    request = raw()
    request.inputs[1].datatype = "UINT64"
    return request


def _unknown_output() -> pb.ModelInferRequest:
    request = raw()
    request.outputs.add(name="nope")
    return request


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (_changed(model_name="nope"), "NOT_FOUND"),
        (_changed(model_version="99"), "NOT_FOUND"),
        (_changed(model_version="1.0"), "INVALID_ARGUMENT"),
        (_without_zone(), "INVALID_ARGUMENT"),
        (_other_datatype(), "INVALID_ARGUMENT"),
        (_unknown_output(), "INVALID_ARGUMENT"),
    ],
)
def test_each_error_of_a_call_has_its_status_code(stub: Any, request_: pb.ModelInferRequest, code: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.ModelInfer(request_)

    assert (raised.value.code().name, bool(raised.value.details())) == (code, True)


def test_the_last_reply_of_each_request_of_a_stream_says_so(stub: Any) -> None:
    answers = list(stub.ModelStreamInfer(iter([_changed(id="a"), _changed(id="b", model_name="nope")])))

    assert [one.infer_response.id for one in answers] == ["a", "b"]
    assert [bool(one.error_message) for one in answers] == [False, True]
    assert all(one.infer_response.parameters["triton_final_response"].bool_param for one in answers)
