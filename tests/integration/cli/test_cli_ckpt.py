"""`headrace ckpt status` and `history` on real topics."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from headrace.cli.catalogue import application
from headrace.contracts import topics
from headrace.contracts.events_pb2 import RolloutDirective, WeightsApplied
from headrace.runtime import kafka as clients
from headrace.runtime.settings import ServiceSettings
from headrace.weights import MemoryChunkStore, VersionFacts, checkpoint_event, publish_version
from tests.patience import WAIT_S


def headrace(kafka: Any, *arguments: str) -> Result:
    return CliRunner().invoke(application(), [*arguments, "--kafka", kafka.bootstrap_servers])


@pytest.fixture
def send(kafka: Any) -> Callable[..., None]:
    settings = ServiceSettings(kafka_bootstrap_servers=kafka.bootstrap_servers)
    clients.ensure_topics(settings, topics.system_topics())
    producer = clients.producer(settings)

    def sent(spec: topics.TopicSpec, key: str, message: Any) -> None:
        producer.produce(spec.name(), message.SerializeToString(), key, topics.model_partition(message.model))
        producer.flush(WAIT_S)

    return sent


class Garbage(str):
    """A model's name where a message should be, on the model's partition."""

    __slots__ = ()
    model = property(str)

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        return b"\xff\xff not a message"


def now_us() -> int:
    return time.time_ns() // 1000


def test_the_fleet_and_its_versions_are_read_from_the_topics(kafka: Any, send: Callable[..., None]) -> None:
    """Two versions, the newer one rolled back.

    One worker follows, one refuses; what cannot be decoded is passed over.
    """
    model = kafka.unique("toy")
    for spec in (topics.CHECKPOINTS, topics.ROLLOUTS, topics.APPLIED):
        send(spec, model, Garbage(model))
    for version in (1, 2):
        manifest = publish_version(
            {"w": torch.ones(2)},
            VersionFacts(
                model=model,
                version=version,
                base_version=version - 1,
                epoch=1,
                step=version,
                offsets={},
                metrics={"error": 0.5},
            ),
            store=MemoryChunkStore(),
        )
        send(topics.CHECKPOINTS, model, checkpoint_event(manifest))
    steps = ((RolloutDirective.ACTIVATE, 1), (RolloutDirective.ACTIVATE, 2), (RolloutDirective.ROLL_BACK, 1))
    for sequence, (action, version) in enumerate(steps, 1):
        back = action == RolloutDirective.ROLL_BACK
        told = RolloutDirective(
            model=model, action=action, version=version, sequence=sequence, issued_at_us=now_us(), pinned=back,
            previous_version=3 - version, reason="2 is off" if back else "",
        )  # fmt: skip
        send(topics.ROLLOUTS, f"{model}/active", told)
    for worker, state, version in (("a", "ACTIVE", 1), ("b", "HEARTBEAT", 2), ("b", "FAILED", 1)):
        said = WeightsApplied(
            model=model, worker=worker, role="rpc", host="here", version=version,
            state=WeightsApplied.State.Value(state),
            at_us=now_us(), error="no room" if state == "FAILED" else "",
        )  # fmt: skip
        send(topics.APPLIED, f"{model}/{worker}", said)

    fleet = json.loads(headrace(kafka, "ckpt", "status", model, "--json").stdout)
    assert fleet["active"][model] == {"version": 1, "pinned": True, "reason": "2 is off"}
    assert [(w["worker"], w["version"], w["state"]) for w in fleet["workers"]] == [
        ("a", 1, "serving"),
        ("b", 2, "refused 1"),
    ]
    assert fleet["workers"][1]["error"] == "no room"
    assert 0 <= fleet["workers"][0]["age_s"] < 600
    versions = json.loads(headrace(kafka, "ckpt", "history", model, "--json").stdout)
    assert [(v["version"], v["state"], v["reason"]) for v in versions] == [
        (2, "rolled back", "2 is off"),
        (1, "pinned", "2 is off"),
    ]
    assert versions[1]["activate_ms"] > 0
    assert versions[1]["metrics"] == {"error": 0.5}
    for command in ("status", "history"):
        result = headrace(kafka, "ckpt", command, model)
        assert result.exit_code == 0, result.output
        assert model in result.output


def test_a_model_that_nobody_published(kafka: Any, send: Callable[..., None]) -> None:
    for command in ("status", "history"):
        result = headrace(kafka, "ckpt", command, "nobody")
        assert result.exit_code == 2
        assert "no version of 'nobody' was published" in result.output
