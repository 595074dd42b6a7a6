"""Several pipelines and their further models in one server, through tritonclient over gRPC and REST."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families
from safetensors.torch import save_file
from tritonclient.utils import InferenceServerException

from headrace.model.exact_rows import forward
from headrace.model.pipeline import Pipeline, load_pipeline
from services.inference.routing import SPAN, place
from tests.integration.rpc.rpc_clients import NUMPY, Client
from tests.integration.rpc.rpc_process import start, stop
from tests.patience import WAIT_S, wait_for

EXAMPLES = Path(__file__).parents[3] / "examples"
FOLDERS = {"flights": EXAMPLES / "flights", "rides": EXAMPLES / "rides", "stuck": Path(__file__).parent / "stuck"}
NAMES = ["flights", "rides", "stuck", "stuck.other", "stuck.wide"]
OF_OTHER, OF_WIDE = (next(k for k in map(str, range(99)) if (place(k) < SPAN // 2) is low) for low in (True, False))


class Server:
    """One process that serves all; `stuck.other` waits for a fleet that is not there, so its keys are `stuck`'s."""

    def __init__(self, folder: Path, pipelines: Mapping[str, Pipeline], *flags: str) -> None:
        self.networks: dict[str, torch.nn.Module] = {}
        weights = []
        for name, pipeline in {**pipelines, "stuck.wide": pipelines["stuck"]}.items():
            torch.manual_seed(len(name))
            self.networks[name] = pipeline.model.network().eval()
            save_file(self.networks[name].state_dict(), folder / f"{name}.safetensors")
            weights.append(f"--weights={name}={folder / name}.safetensors")
        first, *others = FOLDERS.values()
        self.process, self.endpoints = start(folder, *weights, *flags, *map(str, others), pipeline=first)
        self.pipelines = pipelines
        self.rest = self.endpoints["rest"]

    def client(self, kind: str) -> Client:
        return Client(kind, self.rest.removeprefix("http://"), self.endpoints["grpc"])

    def index(self) -> dict[str, str]:
        return {one["name"]: one["state"] for one in httpx.post(f"{self.rest}/v2/repository/index").json()}

    def inputs(self, client: Client, model: str, events: list[Any]) -> list[Any]:
        metadata = httpx.get(f"{self.rest}/v2/models/{model}").json()
        rows = [msgspec.to_builtins(event) for event in events]
        tensors = []
        for spec in metadata["inputs"]:
            values = [row[spec["name"]] for row in rows]
            if None in values:
                continue
            column = np.array(values, NUMPY[spec["datatype"]]).reshape(len(rows), 1)
            tensor = client.transport.InferInput(spec["name"], list(column.shape), spec["datatype"])
            tensor.set_data_from_numpy(column)
            tensors.append(tensor)
        return tensors

    def samples(self, model: str, events: int = 3) -> list[Any]:
        return list(self.pipelines[model].source().sample(events))

    def order(self, client: Client, todo: str, model: str = "stuck", key: str = OF_OTHER, **options: Any) -> Any:
        order = self.pipelines["stuck"].model.event_type()(key, todo, 2.0)
        return client.infer(model, self.inputs(client, "stuck", [order]), **options)


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Pipeline]:
    return {name: load_pipeline(folder) for name, folder in FOLDERS.items()}


@pytest.fixture
def server(tmp_path: Path, pipelines: dict[str, Pipeline]) -> Iterator[Server]:
    one = Server(tmp_path, pipelines, "--execution-timeout-s=1", "--model-limits=stuck.queue_max_events=4")
    try:
        yield one
    finally:
        assert stop(one.process) == 0


def test_every_model_answers_by_its_own_weights_and_is_told_by_itself(server: Server) -> None:
    for kind in ("grpc", "http", "grpc.aio", "http.aio"):
        client = server.client(kind)
        for name in ("flights", "rides"):
            pipeline = server.pipelines[name]
            events = server.samples(name)
            for _ in range(2):  # the second by what the first has taught
                answer = client.infer(name, server.inputs(client, name, events))
                with torch.inference_mode():
                    outputs = forward(server.networks[name], pipeline.model.features(events))
                by_hand = list(pipeline.model.predictions(outputs))
                assert answer.as_numpy("prediction").ravel().tolist() == by_hand
            metadata = client.as_json(client.get_model_metadata(name))
            assert (metadata["name"], metadata["versions"]) == (name, ["1"])
        with pytest.raises(InferenceServerException, match="unknown model: 'nope' is not found"):
            client.infer("nope", client.inputs([{"x": 1.0}]))
        with pytest.raises(InferenceServerException, match="no version of the weights is live yet"):
            server.order(client, "", "stuck.other")
        assert client.is_server_ready(), "a further model without a version keeps the server from being ready"
        assert not client.is_model_ready("stuck.other")
        client.close()
    assert server.index() == dict.fromkeys(NAMES, "READY") | {"stuck.other": "UNAVAILABLE"}
    stats = httpx.get(f"{server.rest}/v2/models/stats").json()["model_stats"]
    assert {one["name"]: one["inference_count"] for one in stats} == {
        "flights": 24,
        "rides": 24,
        "stuck": 0,
        "stuck.other": 0,
        "stuck.wide": 0,
    }
    text = httpx.get(f"{server.endpoints['ops']}/metrics").text
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families), "a family is exposed twice"
    counts = {s.labels["model"]: s.value for f in families for s in f.samples if s.name == "nv_inference_count"}
    assert counts == {"flights": 24.0, "rides": 24.0, "stuck": 0.0, "stuck.other": 0.0, "stuck.wide": 0.0}


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_a_canary_answers_requests_of_its_keys(server: Server, kind: str) -> None:
    client = server.client(kind)

    def who(key: str, todo: str = "") -> str:
        answer = client.as_json(server.order(client, todo, key=key).get_response())
        return str(answer["model_name"])

    assert [who(OF_OTHER), who(OF_WIDE), who(OF_WIDE)] == ["stuck", "stuck.wide", "stuck.wide"]
    client.unload_model("stuck.wide")
    assert who(OF_WIDE) == "stuck"
    client.load_model("stuck.wide")
    assert who(OF_WIDE) == "stuck.wide"
    client.close()


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_unload_and_load_act_on_one_model_alone(server: Server, kind: str) -> None:
    client = server.client(kind)
    inputs = server.inputs(client, "rides", server.samples("rides"))
    client.infer("rides", inputs)

    client.unload_model("rides")

    with pytest.raises(InferenceServerException, match="'rides' has no available versions"):
        client.infer("rides", inputs)
    assert client.is_server_ready()
    assert server.index()["rides"] == "UNAVAILABLE"
    assert server.order(client, "").get_response() is not None
    client.load_model("rides")
    assert server.index()["rides"] == "READY"
    client.infer("rides", inputs)
    client.close()


def test_a_model_that_blocks_for_ever_takes_none_of_the_others_down(server: Server) -> None:
    blocked, rides, events = server.client("grpc"), server.client("http"), server.samples("rides")
    with pytest.raises(InferenceServerException, match="raised RuntimeError: told to"):
        server.order(rides, "raise")
    assert rides.is_model_ready("stuck")
    with ThreadPoolExecutor(1) as thread:
        forever = thread.submit(server.order, blocked, "block")
        wait_for(lambda: not rides.is_model_ready("stuck"))
        with pytest.raises(InferenceServerException, match="has not answered within 1 s"):
            forever.result(WAIT_S)
    for kind in ("grpc", "http"):
        client = server.client(kind)
        with pytest.raises(InferenceServerException, match="has been computing for more than 1 s") as shed:
            server.order(client, "")
        assert shed.value.status() in ("503", "StatusCode.UNAVAILABLE")
        assert client.infer("rides", server.inputs(client, "rides", events)) is not None
        assert (client.is_model_ready("rides"), client.is_server_ready()) == (True, False)
        client.close()
    blocked.close()
    rides.close()


def test_two_pipelines_of_one_name_are_a_readable_error(tmp_path: Path, pipelines: dict[str, Pipeline]) -> None:
    with pytest.raises(pytest.fail.Exception, match="two pipelines have the name 'rides'"):
        start(tmp_path, str(FOLDERS["rides"]), pipeline=FOLDERS["rides"])
