"""The role `gateway` as a process, before real rpc and ingest processes and a real Kafka."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from confluent_kafka import Producer
from safetensors.torch import save_file
from websockets.sync.client import connect

from headrace.contracts.topics import PREDICTIONS, SHADOWS
from headrace.model.exact_rows import forward
from headrace.model.pipeline import load_pipeline
from tests.integration.rpc.rpc_process import FOLDER, start, stop
from tests.patience import WAIT_S

TRIP = {"trip_id": "t1", "zone": 3, "distance_km": 2.5, "raining": True, "kind": "city"}
ARRIVAL = {"trip_id": "t1", "minutes": 12.5}
SHADOW = "models: [{name: next, model: model.py:TripMinutes, role: shadow}]\n"


@dataclass
class World:
    """A gateway with everything behind it."""

    kafka: Any
    pipeline: Path
    name: str
    run_dir: Path
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    url: str = ""

    def start(self, role: str, service: str, *flags: str, wanted: int) -> dict[str, str]:
        flags = ("--kafka-bootstrap-servers", self.kafka.bootstrap_servers, *flags)
        process, endpoints = start(
            self.run_dir, *flags, pipeline=self.pipeline, service=service, role=role, wanted=wanted
        )
        self.processes[role] = process
        return endpoints

    def start_rpc(self) -> dict[str, str]:
        return self.start("rpc", "inference.rpc", "--weights", str(self.run_dir / "weights.safetensors"), wanted=3)

    def path(self, what: str) -> str:
        return f"{self.url}/v1/pipelines/{self.name}/{what}"

    def by_hand(self, *trips: dict) -> list[float]:
        model = load_pipeline(self.pipeline).model
        torch.manual_seed(11)
        network = model.network().eval()
        with torch.inference_mode():
            return list(model.predictions(forward(network, model.features([model.event_type()(**t) for t in trips]))))

    def publish(self, *predictions: str, commit: bool = True, shadow: bool = False) -> None:
        """Put predictions, the champion's or its shadow's, where they belong, in one transaction."""
        topic, model = (SHADOWS, f"{self.name}.next") if shadow else (PREDICTIONS, self.name)
        producer = Producer(
            {"bootstrap.servers": self.kafka.bootstrap_servers, "transactional.id": self.kafka.unique("sink")}
        )
        producer.init_transactions(30)
        producer.begin_transaction()
        for one in predictions:
            value = json.dumps({"key": one, "model": model})
            producer.produce(topic.name(self.name), key=one.split(":")[0], value=value)
        producer.flush(WAIT_S)
        producer.commit_transaction(30) if commit else producer.abort_transaction(30)


@pytest.fixture(scope="module")
def world(kafka: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder, name = tmp_path_factory.mktemp("gateway"), kafka.unique("trips")
    shutil.copytree(FOLDER, folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    spec = folder / "pipeline" / "pipeline.yaml"
    spec.write_text(spec.read_text().replace("name: trips", f"name: {name}") + SHADOW)
    made = World(kafka, folder / "pipeline", name, folder)
    torch.manual_seed(11)
    save_file(load_pipeline(made.pipeline).model.network().state_dict(), folder / "weights.safetensors")
    try:
        made.start("ingest", "ingest", wanted=3)  # makes the topics
        made.start_rpc()
        made.url = made.start("gateway", "gateway", wanted=2)["rest"]
        yield made
    finally:
        for process in made.processes.values():
            if process.poll() is None:
                stop(process)


class Following:
    """A reader of the predictions, in a thread of its own."""

    def __init__(self, world: World, query: str = "", what: str = "predictions", **headers: str) -> None:
        self.events: list[dict[str, str]] = []
        self._more = threading.Condition()
        self._client = httpx.Client(timeout=WAIT_S)
        self._response = self._client.send(
            self._client.build_request("GET", world.path(what) + query, headers=headers), stream=True
        )
        assert self._response.status_code == 200
        lines = self._response.iter_lines()
        assert next(lines) == ": headrace"  # the reader is subscribed
        self._thread = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self._thread.start()

    def _read(self, lines: Iterator[str]) -> None:
        event: dict[str, str] = {}
        try:
            for line in lines:
                if line:
                    name, _, value = line.partition(": ")
                    event[name] = value
                elif "event" in event:
                    with self._more:
                        self.events.append(event)
                        self._more.notify_all()
                    event = {}
        except (httpx.HTTPError, httpx.StreamError):
            return  # closed

    def take(self, count: int) -> list[str]:
        """The keys of the first `count` predictions."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.events) >= count, WAIT_S), self.events
        return [json.loads(e["data"])["key"] for e in self.events[:count]]

    def close(self) -> None:
        connection = self._response.extensions["network_stream"].get_extra_info("socket")
        with contextlib.suppress(OSError):  # the gateway may have closed it already
            connection.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._thread.join(WAIT_S)
        self._response.close()
        self._client.close()


def test_a_prediction_is_the_models_by_hand_and_names_its_weights(world: World) -> None:
    answer = httpx.post(world.path("predict"), json=TRIP).json()

    assert answer["prediction"] == world.by_hand(TRIP)[0]
    assert (answer["model"], answer["version"], len(answer["checkpoint"])) == (world.name, 1, 32)


def test_a_list_is_answered_in_order_whatever_fields_its_events_have(world: World) -> None:
    trips = [
        TRIP,
        {**TRIP, "tip": 2.0},
        {**TRIP, "tip": None, "note": "x"},
        {**TRIP, "distance_km": 7},
        {**TRIP, "tip": 3.5},
    ]

    answer = httpx.post(world.path("predict"), json=trips).json()

    assert [one["prediction"] for one in answer["predictions"]] == pytest.approx(world.by_hand(*trips), rel=1e-6)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ("{", 400, "not JSON"),
        ("5", 400, "must be one event"),
        (json.dumps({**TRIP, "colour": "red"}), 400, "takes no field 'colour'"),
        (json.dumps({**TRIP, "zone": "three"}), 400, "zone"),
        (json.dumps({**TRIP, "zone": 1000}), 400, "zone"),
        (json.dumps({**TRIP, "kind": "sea"}), 400, "kind"),
        (json.dumps({"trip_id": "t"}), 400, "missing"),
        (json.dumps({**TRIP, "note": "explode"}), 500, "this note explodes"),
    ],
)
def test_what_is_wrong_with_an_event_is_said(world: World, body: str, status: int, reason: str) -> None:
    response = httpx.post(world.path("predict"), content=body)

    assert response.status_code == status
    assert reason in response.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/pipelines/nope/predict", 404),
        ("GET", "/v1/pipelines/nope/predictions", 404),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/status", 405),
        ("POST", "/v1/pipelines/nope/predictions", 405),
    ],
)
def test_every_error_is_json(world: World, method: str, path: str, status: int) -> None:
    response = httpx.request(method, world.url + path, content=b"{}" if method == "POST" else None)

    assert response.status_code == status
    assert isinstance(response.json()["error"], str)


def test_events_and_labels_are_forwarded_to_ingest(world: World) -> None:
    assert httpx.post(world.path("events"), json=TRIP, timeout=WAIT_S).json() == {"accepted": 1, "rejected": []}
    assert httpx.post(world.path("labels"), json=[ARRIVAL], timeout=WAIT_S).json()["accepted"] == 1
    refused = httpx.post(
        world.path("events"), content=b"{", headers={"content-type": "application/json"}, timeout=WAIT_S
    )
    assert refused.status_code == 400
    assert "error" in refused.json()
    assert httpx.post(world.path("shouts"), json=TRIP).status_code == 404


def test_an_rpc_that_was_restarted_elsewhere_is_found(world: World) -> None:
    httpx.post(world.path("predict"), json=TRIP).raise_for_status()
    world.processes["rpc"].kill()
    world.processes["rpc"].wait()
    gone = httpx.post(world.path("predict"), json=TRIP, timeout=WAIT_S)
    assert gone.status_code in (503, 504)
    assert "rpc" in gone.json()["error"]

    world.start_rpc()

    assert httpx.post(world.path("predict"), json=TRIP, timeout=WAIT_S).json()["prediction"] == world.by_hand(TRIP)[0]


def test_followers_see_committed_predictions_alone_and_resume_where_they_were(world: World) -> None:
    live, chosen = Following(world), Following(world, "?key=b")
    world.publish("a:1", "b:2", "a:3")
    world.publish("a:aborted", "b:aborted", commit=False)
    world.publish("b:4", "a:5")
    try:
        assert sorted(live.take(5)) == ["a:1", "a:3", "a:5", "b:2", "b:4"]
        assert chosen.take(2) == ["b:2", "b:4"]
        seen = live.take(2)
        again = Following(world, **{"Last-Event-ID": live.events[1]["id"]})
        assert sorted(seen + again.take(3)) == ["a:1", "a:3", "a:5", "b:2", "b:4"]
        again.close()
        everything = Following(world, "?from=earliest")
        assert sorted(everything.take(5)) == ["a:1", "a:3", "a:5", "b:2", "b:4"]
        world.publish("c:6")
        assert everything.take(6)[5] == live.take(6)[5] == "c:6"
        everything.close()
    finally:
        live.close()
        chosen.close()


def test_every_models_predictions_are_listed_and_followed_apart(world: World) -> None:
    listed = httpx.get(world.path("models"), timeout=WAIT_S).json()["models"]
    shadows, mine = Following(world, what="shadows"), Following(world, f"?model={world.name}")
    unwanted = httpx.get(world.path("predictions"), params={"model": "fast"}, timeout=WAIT_S)
    world.publish("d:shadow", shadow=True)
    world.publish("d:served")
    try:
        assert [(one["model"], one["role"], one["share"]) for one in listed] == [
            (world.name, "champion", 1.0),
            (f"{world.name}.next", "shadow", 0.0),
        ]
        assert shadows.take(1) == ["d:shadow"]
        assert mine.take(1) == ["d:served"]
        assert unwanted.status_code == 404
        assert f"{world.name}.next" in unwanted.json()["error"]
    finally:
        shadows.close()
        mine.close()


@pytest.mark.parametrize("start", ["newest", "99:0", "0:x"])
def test_a_start_that_is_no_position_is_refused(world: World, start: str) -> None:
    response = httpx.get(world.path("predictions"), params={"from": start}, timeout=WAIT_S)

    assert response.status_code == 400
    assert "position" in response.json()["error"]


def test_the_status_has_every_role_with_its_readiness(world: World) -> None:
    status = httpx.get(f"{world.url}/v1/status", timeout=WAIT_S).json()

    roles = {one["role"]: one for one in status["roles"]}
    assert roles.keys() == {"ingest", "rpc", "gateway"}
    assert roles["rpc"]["ready"]
    assert roles["rpc"]["checks"]["weights"]["ok"]
    assert status["pipeline"] == world.name
    assert status["monitor"] is None


def test_the_page_and_the_description_name_the_routes(world: World) -> None:
    page = httpx.get(world.url)
    assert page.headers["content-type"].startswith("text/html")
    assert "/docs" in page.text
    assert "/v1/pipelines/{pipeline}/predict" in httpx.get(f"{world.url}/openapi.json").json()["paths"]


def test_the_description_needs_nothing_from_elsewhere(world: World) -> None:
    page = httpx.get(world.url + "/docs").text
    script = re.search(r'src="(/[^"/][^"]*swagger-ui-bundle.js)"', page)
    assert script is not None
    assert httpx.get(world.url + script[1]).status_code == 200


def test_requests_are_counted_by_route(world: World) -> None:
    httpx.post(world.path("predict"), json=TRIP).raise_for_status()
    ops = json.loads((world.run_dir / "endpoints" / "gateway-under-test.json").read_text())["endpoints"]["ops"]

    metrics = httpx.get(f"{ops}/metrics").text

    assert 'headrace_gateway_requests_total{route="/v1/pipelines/{pipeline}/predict",status="200"}' in metrics


def test_the_same_keys_are_followed_by_events_and_by_a_websocket(world: World) -> None:
    query = "?key=ws-a&key=ws-c"
    events = Following(world, query)
    with connect(world.path(f"predictions/ws{query}").replace("http", "ws", 1), proxy=None) as socket:
        world.publish("ws-a:1", "ws-b:2", "ws-c:3")
        messages = [json.loads(socket.recv(WAIT_S)) for _ in range(2)]
        assert sorted(m["data"]["key"] for m in messages) == sorted(events.take(2)) == ["ws-a:1", "ws-c:3"]
        socket.send(json.dumps({"keys": ["ws-b"]}))
        assert json.loads(socket.recv(WAIT_S))["event"] == "keys"
        world.publish("ws-a:4", "ws-b:5")
        assert json.loads(socket.recv(WAIT_S))["data"]["key"] == "ws-b:5"
    events.close()
    with connect(
        world.path(f"predictions/ws?from={messages[0]['id']}&key=ws-a&key=ws-c").replace("http", "ws", 1), proxy=None
    ) as socket:
        assert json.loads(socket.recv(WAIT_S)) == messages[1]


def test_a_signal_ends_the_streams_with_a_word_and_the_process_in_order(world: World) -> None:
    follower = Following(world)

    assert stop(world.processes["gateway"]) == 0

    follower.close()
    assert [event["event"] for event in follower.events] == ["closed"]
