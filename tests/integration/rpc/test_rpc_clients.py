"""What tritonclient gets, by REST and gRPC, synchronous and asyncio, from the real process."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from tests.integration.rpc.rpc_clients import TRIP, Client
from tests.integration.rpc.rpc_process import Served

KINDS = ["http", "http.aio", "grpc", "grpc.aio"]


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, served: Served) -> Iterator[Client]:
    made = Client(request.param, served.http, served.grpc)
    yield made
    made.close()


def trip(served: Served, **fields: Any) -> Any:
    return served.pipeline.model.event_type()(**{**TRIP, **fields})


def test_the_server_and_its_model_are_live_and_ready(client: Client) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("trips")
    assert client.is_model_ready("trips", "1")


@pytest.mark.parametrize(("model", "version"), [("nope", ""), ("trips", "99")])
def test_an_unknown_model_or_version_is_not_ready(client: Client, model: str, version: str) -> None:
    assert not client.is_model_ready(model, version)


def test_the_servers_metadata_lists_what_is_answered(client: Client) -> None:
    metadata = client.as_json(client.get_server_metadata())

    assert metadata["name"] == "headrace"
    assert {"statistics", "binary_tensor_data", "model_repository"} <= set(metadata["extensions"])


def test_the_models_metadata_has_a_tensor_for_each_field_in_order(client: Client) -> None:
    metadata = client.as_json(client.get_model_metadata("trips"))

    assert metadata["versions"] == ["1"]
    assert [(t["name"], t["datatype"]) for t in metadata["inputs"]] == [
        ("trip_id", "BYTES"),
        ("zone", "INT64"),
        ("distance_km", "FP64"),
        ("raining", "BOOL"),
        ("kind", "BYTES"),
        ("tip", "FP64"),
        ("note", "BYTES"),
    ]
    assert [[int(side) for side in t["shape"]] for t in metadata["outputs"]] == [[-1, 1]]


def test_the_models_configuration_has_what_load_generators_need(client: Client) -> None:
    answer = client.as_json(client.get_model_config("trips"))
    config = answer.get("config", answer)

    assert config["max_batch_size"] == 4096
    assert config["input"][1]["data_type"] == "TYPE_INT64"
    assert [int(side) for side in config["input"][1]["dims"]] == [1]
    assert [i["name"] for i in config["input"] if i.get("optional")] == ["tip", "note"]
    assert config["instance_group"][0]["kind"] == "KIND_CPU"


def test_a_prediction_is_the_models_by_hand(client: Client, served: Served) -> None:
    answer = client.predict([TRIP])

    assert answer.as_numpy("prediction").tolist() == [served.by_hand([trip(served)])]
    head = client.as_json(answer.get_response())
    assert (head["model_name"], head["model_version"]) == ("trips", "1")


def test_a_batch_is_answered_in_order(client: Client, served: Served) -> None:
    trips = [{**TRIP, "trip_id": f"t{i}", "zone": i % 100, "distance_km": i / 7} for i in range(257)]

    answer = client.predict(trips)

    expected = served.by_hand([trip(served, **t) for t in trips])
    assert answer.as_numpy("prediction")[:, 0].tolist() == expected


def test_inputs_may_be_flat(client: Client, served: Served) -> None:
    answer = client.infer("trips", client.inputs([TRIP, TRIP], shape=()))

    assert answer.as_numpy("prediction").shape == (2, 1)


def test_fields_with_defaults_need_not_be_sent_and_nan_is_none(client: Client, served: Served) -> None:
    short = {name: TRIP[name] for name in ("trip_id", "zone", "distance_km", "raining", "kind")}

    absent = client.predict([short]).as_numpy("prediction").tolist()
    nan = client.predict([{**short, "tip": math.nan}]).as_numpy("prediction").tolist()

    assert absent == nan == [served.by_hand([trip(served, tip=None, note="")])]


def test_the_requests_id_comes_back_and_unknown_parameters_are_tolerated(client: Client) -> None:
    answer = client.predict([TRIP], request_id="r-17", parameters={"whatever": 5})

    assert client.as_json(answer.get_response())["id"] == "r-17"


def test_an_answer_says_where_its_time_went_to_those_who_ask(client: Client) -> None:
    answer = client.as_json(client.predict([TRIP], parameters={"timing": True}).get_response())
    told = {name: int(_plain(value)) for name, value in answer["parameters"].items() if name != "checkpoint"}

    assert sum(told[f"{stage}_ns"] for stage in ("queue", "compute_input", "compute_infer", "compute_output")) > 0
    assert told["total_ns"] < 60e9
    assert told["batch_events"] == 1
    assert set(client.as_json(client.predict([TRIP]).get_response())["parameters"]) == {"checkpoint"}


def _plain(value: Any) -> Any:
    """A parameter's value: gRPC's is in a oneof."""
    return next(iter(value.values())) if isinstance(value, dict) else value


def test_the_answer_names_its_checkpoint(client: Client) -> None:
    parameters = client.as_json(client.predict([TRIP]).get_response())["parameters"]

    digest = parameters["checkpoint"]
    assert len(digest if isinstance(digest, str) else digest["string_param"]) == 32


@pytest.mark.parametrize("version", ["", "1"])
def test_the_live_version_may_be_named(client: Client, version: str) -> None:
    assert client.predict([TRIP], model_version=version).as_numpy("prediction").shape == (1, 1)


def _without(name: str) -> dict:
    return {k: v for k, v in TRIP.items() if k != name}


ERRORS = {
    "unknown model": (404, {"model": "nope"}, [TRIP], {}),
    "unknown version": (404, {"model_version": "99"}, [TRIP], {}),
    "version that is no integer": (400, {"model_version": "one"}, [TRIP], {}),
    "missing input": (400, {}, [_without("zone")], {}),
    "unknown input": (400, {}, [{**TRIP, "colour": "red"}], {}),
    "wrong datatype": (400, {}, [TRIP], {"zone": "FP64"}),
    "narrower datatype": (400, {}, [TRIP], {"distance_km": "FP32"}),
    "value beyond the field's bounds": (400, {}, [{**TRIP, "zone": 100}], {}),
    "value that is no choice": (400, {}, [{**TRIP, "kind": "sea"}], {}),
    "text that is not UTF-8": (400, {}, [{**TRIP, "note": b"\xff"}], {}),
    "model that raises": (500, {}, [{**TRIP, "note": "explode"}], {}),
}
GRPC = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 500: "INTERNAL"}


@pytest.mark.parametrize("case", ERRORS)
def test_what_is_wrong_is_said_with_the_protocols_status(client: Client, case: str) -> None:
    status, options, trips, datatypes = ERRORS[case]
    options = {**options, **({"headers": {"accept-encoding": "identity"}} if client.kind == "http" else {})}
    model = options.pop("model", "trips")

    with pytest.raises(InferenceServerException) as raised:
        client.infer(model, client.inputs(trips, **datatypes), **options)

    wanted = f"StatusCode.{GRPC[status]}" if client.kind.startswith("grpc") else str(status)
    assert raised.value.status() == wanted, str(raised.value)
    assert raised.value.message()


def test_an_unknown_output_is_refused_and_known_ones_are_chosen(client: Client) -> None:
    wanted = client.transport.InferRequestedOutput("prediction")
    assert client.predict([TRIP], outputs=[wanted]).as_numpy("prediction").shape == (1, 1)

    with pytest.raises(InferenceServerException, match="unexpected inference output 'nope'"):
        client.predict([TRIP], outputs=[client.transport.InferRequestedOutput("nope")])


def test_a_duplicate_input_is_refused(client: Client) -> None:
    with pytest.raises(InferenceServerException, match="already exists"):
        client.infer("trips", [*client.inputs([TRIP]), *client.inputs([{"zone": 1}])])


def test_statistics_count_every_request(client: Client) -> None:
    def stats() -> dict:
        return client.as_json(client.get_inference_statistics("trips"))["model_stats"][0]

    client.predict([TRIP])
    before = stats()
    for _ in range(3):
        client.predict([TRIP] * 5)
    with pytest.raises(InferenceServerException):
        client.predict([{**TRIP, "zone": -1}])
    after = stats()

    def rise(*path: str) -> int:
        one, two = before, after
        for key in path:
            one, two = one.get(key, {}), two[key]
        return int(two) - int(one or 0)

    assert rise("inference_count") == 15
    assert rise("execution_count") == 3
    assert rise("inference_stats", "success", "count") == rise("inference_stats", "queue", "count") == 3
    assert rise("inference_stats", "fail", "count") == 1
    assert rise("inference_stats", "compute_infer", "ns") > 0
    assert {"cache_hit", "cache_miss"} <= set(after["inference_stats"])
    assert "5" in {str(b["batch_size"]) for b in after["batch_stats"]}


def test_statistics_of_an_unknown_model_are_an_error(client: Client) -> None:
    with pytest.raises(InferenceServerException):
        client.get_inference_statistics("nope")


def test_the_repository_lists_the_model_which_may_be_unloaded_and_loaded(client: Client) -> None:
    def index() -> list[dict]:
        answer = client.as_json(client.get_model_repository_index())
        return answer if isinstance(answer, list) else answer["models"]

    assert index() == [{"name": "trips", "version": "1", "state": "READY"}]
    client.unload_model("trips")
    try:
        assert not client.is_model_ready("trips")
        assert index()[0]["state"] == "UNAVAILABLE"
        with pytest.raises(InferenceServerException, match="no available versions"):
            client.predict([TRIP])
    finally:
        client.load_model("trips")
    assert client.is_model_ready("trips")


def test_an_unknown_model_cannot_be_loaded_but_is_as_good_as_unloaded(client: Client) -> None:
    with pytest.raises(InferenceServerException, match="failed to load 'nope'"):
        client.load_model("nope")
    client.unload_model("nope")


def test_shared_memory_is_empty_and_unregistering_is_answered(client: Client) -> None:
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory()
    assert not client.as_json(client.get_system_shared_memory_status())
    assert not client.as_json(client.get_cuda_shared_memory_status())
    with pytest.raises(InferenceServerException, match="unable to open key"):
        client.register_system_shared_memory("region", "/absent", 64)


def test_log_and_trace_settings_are_told(client: Client) -> None:
    logs = client.as_json(client.get_log_settings())
    assert "log_info" in logs.get("settings", logs)
    client.update_log_settings({"log_verbose_level": 0})
    traces = client.as_json(client.get_trace_settings())
    assert "trace_level" in traces.get("settings", traces)


def test_a_large_batch_is_refused(client: Client) -> None:
    with pytest.raises(InferenceServerException, match="batch-size must be <= 4096"):
        client.predict([TRIP] * 4097)


def test_transports_agree_to_the_last_bit(served: Served) -> None:
    trips = [{**TRIP, "distance_km": d} for d in np.random.default_rng(3).uniform(0, 50, 33)]
    answers = []
    for kind in KINDS:
        one = Client(kind, served.http, served.grpc)
        answers.append(one.predict(trips).as_numpy("prediction").tobytes())
        one.close()

    assert len(set(answers)) == 1
    assert np.frombuffer(answers[0]).tolist() == served.by_hand([trip(served, **t) for t in trips])
