"""The whole river on real flights.

What came out of each topic, what gRPC and REST answer, rollback, and nothing left behind.

The tests of this module share one run and go downstream in order, as the records do. The run is secured: Kafka asks
every role for its own password over TLS and grants it no more than it needs, and Redis asks for one.
"""

import json
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
import tritonclient.grpc as triton
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from redis import Redis
from redis.exceptions import AuthenticationError, ResponseError

from headrace.contracts import topics
from headrace.contracts.events_pb2 import CheckpointPublished, WeightsApplied
from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.platform.valkey import with_password
from headrace.runtime.settings import ServiceSettings, load
from headrace.security.secured import Secured
from headrace.weights import Manifest, fetch, open_store
from tests.e2e.conftest import FLIGHTS, Run, wait_for
from tests.patience import WAIT_S

pytestmark = pytest.mark.timeout(600)  # the first test waits until the whole run is up

SLICE, SLICES = 1000, 3
"""Flights produced at once, and how often at least: the first days of January 2013."""
VERSIONS = 3
SERVING = {WeightsApplied.JOINED, WeightsApplied.ACTIVE, WeightsApplied.HEARTBEAT}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    started = Run(tmp_path_factory.mktemp("e2e") / "run", FLIGHTS, "--core", "--secure")
    try:
        yield started
    finally:
        started.close()


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load_pipeline(FLIGHTS)


@pytest.fixture(scope="module")
def river(run: Run) -> Run:
    """The run, after flights and their landings were produced and predicted.

    They come in slices, each once the stream serves what was learned from all before it, until there are enough
    versions on the
    sink: however fast the machine, and however slow, a later slice finds newer weights.
    """
    run.wait_ready()
    while run.produced < SLICE * SLICES or len(set(versions(run))) < VERSIONS:
        wait_for(lambda: serves_what_was_learned(run), "serving what was learned from the flights so far")
        run.produce(SLICE, "--rate", "1000")
        wait_for(lambda: len(versions(run)) >= run.produced, "predicting every flight")
    return run


def test_each_event_was_predicted_exactly_once(river: Run, pipeline: Pipeline) -> None:
    events = river.read(topics.EVENTS.name("flights"))
    predictions = [
        pipeline.prediction_decoder.decode(r.value()) for r in river.read(topics.PREDICTIONS.name("flights"))
    ]
    assert len(events) == river.produced
    assert Counter(p.source for p in predictions) == Counter((e.partition(), e.offset()) for e in events)
    keys = {
        (e.partition(), e.offset()): pipeline.model.key_of(pipeline.event_decoder.decode(e.value())) for e in events
    }
    assert all(p.key == keys[p.source] for p in predictions)
    assert all(np.isfinite(p.prediction) for p in predictions)


def test_the_version_rose_while_predictions_flowed_and_never_fell(river: Run, pipeline: Pipeline) -> None:
    last: dict[int, int] = {}
    seen: set[int] = set()
    for record in river.read(topics.PREDICTIONS.name("flights")):
        prediction = pipeline.prediction_decoder.decode(record.value())
        partition = prediction.source[0]
        assert prediction.version >= last.get(partition, 0), f"version fell at {record.topic()}[{record.partition()}]"
        last[partition] = prediction.version
        seen.add(prediction.version)
    assert len(seen) >= VERSIONS, f"versions on the sink: {sorted(seen)}"


def test_every_version_on_the_sink_is_a_published_checkpoint(river: Run, pipeline: Pipeline) -> None:
    published = {c.manifest_digest: c.version for c in checkpoints(river)}
    for record in river.read(topics.PREDICTIONS.name("flights")):
        prediction = pipeline.prediction_decoder.decode(record.value())
        assert published[prediction.checkpoint] == prediction.version


def test_each_label_was_joined_exactly_once(river: Run, pipeline: Pipeline) -> None:
    def joined() -> list[Any]:
        return [pipeline.example_decoder.decode(r.value()) for r in river.read(topics.EXAMPLES.name("flights"))]

    labels = river.read(topics.LABELS.name("flights"))
    assert len(labels) > river.produced * 0.9
    examples = wait_for(lambda: found if len(found := joined()) >= len(labels) else [], "joining every label")
    assert Counter(e.label_source for e in examples) == Counter((r.partition(), r.offset()) for r in labels)
    assert all(e.event.flight_id == e.label.flight_id == e.key for e in examples)


def test_it_learned(river: Run) -> None:
    def learned() -> bool:
        newest = max(checkpoints(river), key=lambda c: c.version)
        return newest.step > 10 and sum(o.offset for o in newest.offsets) > river.produced * 0.9

    wait_for(learned, "a checkpoint that contains (nearly) every example")


def test_grpc_rest_and_the_model_run_by_hand_agree(river: Run, pipeline: Pipeline) -> None:
    river.headrace("rollback", "--run-dir", str(river.folder))  # pins, so that all three ask the same version
    events = [pipeline.event_decoder.decode(r.value()) for r in river.read(topics.EVENTS.name("flights"))[:32]]

    by_grpc, grpc_version = ask_grpc(river, events)
    by_rest, rest_version = ask_rest(river, events)
    assert grpc_version == rest_version

    (checkpoint,) = [c for c in checkpoints(river) if c.version == grpc_version]
    network = pipeline.model.network()
    network.load_state_dict(fetch(Manifest.decode(checkpoint.manifest), open_store(store_settings(river))))
    network.eval()
    with torch.inference_mode():
        by_hand = list(pipeline.model.predictions(network(pipeline.model.features(events))))
    assert by_grpc == by_hand
    assert by_rest == by_hand


def test_a_rollback_shows_in_the_next_predictions_and_resuming_ends_it(river: Run, pipeline: Pipeline) -> None:
    newest = max(c.version for c in checkpoints(river))
    active = river_version(river)
    assert active < newest  # rolled back by the test before

    before = len(river.read(topics.PREDICTIONS.name("flights")))
    river.headrace("produce", str(FLIGHTS), "--limit", "200")
    wait_for(lambda: len(river.read(topics.PREDICTIONS.name("flights"))) >= before + 200, "200 more predictions")
    latest = sorted(
        (pipeline.prediction_decoder.decode(r.value()) for r in river.read(topics.PREDICTIONS.name("flights"))),
        key=lambda p: p.at_us,
    )[-200:]
    assert {p.version for p in latest} == {active}

    river.headrace("resume", "--run-dir", str(river.folder))
    wait_for(lambda: river_version(river) >= newest, "the newest version after resuming")


def test_the_gateway_answers_with_version_and_checkpoint(river: Run, pipeline: Pipeline) -> None:
    (event,) = river.read(topics.EVENTS.name("flights"))[:1]
    done = river.headrace("predict", str(FLIGHTS), "--event", event.value().decode(), "--run-dir", str(river.folder))
    answer = json.loads(done.stdout)
    assert answer["version"] in {c.version for c in checkpoints(river)}
    assert np.isfinite(answer["prediction"])


def test_nothing_was_denied_to_a_role_and_everything_to_strangers(river: Run) -> None:
    log = (river.folder / "platform" / "kafka.log").read_text()
    assert "is Denied" not in log
    stranger: dict[str, Any] = {"bootstrap.servers": river.kafka, "socket.timeout.ms": 5000, "log_level": 0}
    operator = river.kafka_config
    wrong = {**operator, "sasl.password": "wrong"}
    untrusting = {**operator, "ssl.ca.location": ""}
    for config in ({}, wrong, untrusting):
        with pytest.raises(KafkaException):
            AdminClient({**stranger, **config}).list_topics(timeout=5)
    assert topics.EVENTS.name("flights") in AdminClient({**stranger, **operator}).list_topics(timeout=WAIT_S).topics


def test_a_role_is_denied_what_it_is_not_there_for(river: Run) -> None:
    secured = Secured(river.folder / "platform" / "security")
    config: dict[str, Any] = {"bootstrap.servers": river.kafka, **secured.client_config("monitor")}
    errors: list[KafkaError] = []
    producer = Producer(config)
    before = len(river.read(topics.LABELS.name("flights")))
    producer.produce(topics.LABELS.name("flights"), b"{}", b"k", on_delivery=lambda error, _: errors.append(error))
    producer.flush(WAIT_S)
    assert [error.code() for error in errors] == [KafkaError.TOPIC_AUTHORIZATION_FAILED]
    assert len(river.read(topics.LABELS.name("flights"))) == before
    (created,) = AdminClient(config).create_topics([NewTopic("flights.more", 1, 1)]).values()
    with pytest.raises(KafkaException):
        created.result(WAIT_S)
    redis = next(s.address for s in river.platform_servers() if s.name == "redis")
    for password in ("", "wrong"):
        with pytest.raises((AuthenticationError, ResponseError)):
            Redis.from_url(with_password(redis, password)).ping()


def test_every_process_is_gone_at_the_end(river: Run) -> None:
    assert river.down() == []


def versions(run: Run) -> list[int]:
    """The version of every prediction on the sink."""
    decode = load_pipeline(FLIGHTS).prediction_decoder.decode
    return [decode(r.value()).version for r in run.read(topics.PREDICTIONS.name("flights"))]


def serves_what_was_learned(run: Run) -> bool:
    """Whether the newest checkpoint contains every label, and the stream serves it."""
    newest = max(checkpoints(run), key=lambda c: c.version)
    reports = [WeightsApplied.FromString(r.value()) for r in run.read(topics.APPLIED.name())]
    served = max((a.version for a in reports if a.role == "stream" and a.state in SERVING), default=0)
    return newest.metrics["examples"] == len(run.read(topics.LABELS.name("flights"))) and served == newest.version


def checkpoints(run: Run) -> list[CheckpointPublished]:
    return [CheckpointPublished.FromString(r.value()) for r in run.read(topics.CHECKPOINTS.name())]


def river_version(run: Run) -> int:
    """The version that gRPC serves now."""
    with triton.InferenceServerClient(run.endpoint("rpc", "grpc")) as client:
        return int(client.get_inference_statistics("flights").model_stats[0].version)


def store_settings(run: Run) -> ServiceSettings:
    redis = next(s.address for s in run.platform_servers() if s.name == "redis")
    redis = with_password(redis, Secured(run.folder / "platform" / "security").redis_password)
    return load(ServiceSettings, "test", ["--run-dir", str(run.folder), "--redis-url", redis])


def ask_grpc(run: Run, events: list[Any]) -> tuple[list[float], int]:
    with triton.InferenceServerClient(run.endpoint("rpc", "grpc")) as client:
        inputs = []
        for declared in client.get_model_metadata("flights").inputs:
            values = column(events, declared.name, declared.datatype)
            tensor = triton.InferInput(declared.name, list(values.shape), declared.datatype)
            tensor.set_data_from_numpy(values)
            inputs.append(tensor)
        answer = client.infer("flights", inputs)
        name = answer.get_response().outputs[0].name
        return answer.as_numpy(name).reshape(-1).tolist(), int(answer.get_response().model_version)


def ask_rest(run: Run, events: list[Any]) -> tuple[list[float], int]:
    url = run.endpoint("rpc", "rest")
    with urllib.request.urlopen(f"{url}/v2/models/flights", timeout=WAIT_S) as answer:
        declared = json.load(answer)["inputs"]
    inputs = [
        {
            "name": one["name"],
            "datatype": one["datatype"],
            "shape": [len(events), 1],
            "data": [None if isinstance(v, float) and np.isnan(v) else v for v in rest_values(events, one)],
        }
        for one in declared
    ]
    body = msgspec.json.encode({"inputs": inputs})
    request = urllib.request.Request(f"{url}/v2/models/flights/infer", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
        reply = json.load(answer)
    return [float(v) for v in np.ravel(reply["outputs"][0]["data"])], int(reply["model_version"])


def rest_values(events: list[Any], declared: dict[str, Any]) -> list[Any]:
    values = column(events, declared["name"], declared["datatype"]).reshape(-1).tolist()
    return [v.decode() if isinstance(v, bytes) else v for v in values]


def column(events: list[Any], field: str, datatype: str) -> np.ndarray:
    """One field of all events as the tensor [N, 1] that the protocol asks for; an absent float is NaN."""
    values = [getattr(e, field) for e in events]
    if datatype == "BYTES":
        return np.array([str(v).encode() for v in values], dtype=object).reshape(-1, 1)
    kinds = {"FP64": np.float64, "INT64": np.int64, "BOOL": np.bool_, "FP32": np.float32}
    return np.array([np.nan if v is None else v for v in values], dtype=kinds[datatype]).reshape(-1, 1)
