"""The drift role as a process of its own, on a real broker."""

import hashlib
import hmac
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.contracts import topics
from headrace.contracts.events_pb2 import Alert
from headrace.runtime import kafka as clients
from tests.integration.drift.drift_kit import Listener, Role, Toy, records
from tests.patience import wait_for

WEBHOOK = """
alerts:
  webhooks:
    - {{name: ops, url: "{url}", secret_env: TOY_SECRET, timeout_s: 10}}
"""


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


@pytest.fixture
def toy(kafka: Any, tmp_path: Path, listener: Listener) -> Toy:
    more = WEBHOOK.format(url=listener.url)
    return Toy(tmp_path / "toy", kafka.unique("toy"), kafka.bootstrap_servers, more)


@pytest.fixture
def role(toy: Toy, tmp_path: Path) -> Iterator[Role]:
    made = Role(toy, tmp_path / "run", TOY_SECRET="mum's the word")
    yield made
    made.end(signal.SIGKILL)


def alerts_written(toy: Toy) -> list[Alert]:
    ours = (record for record in records(toy, topics.ALERTS.name()) if record.key() == toy.name.encode())
    found = (Alert.FromString(record.value()) for record in ours)
    return [alert for alert in found if alert.model == toy.name]


def test_what_drifts_is_found_told_once_through_a_kill_and_ends(toy: Toy, role: Role, listener: Listener) -> None:
    toy.river(4000)
    seen = role.taken(4000)
    assert role.on() == set()
    steady = {column["column"]: column["state"] for column in seen["columns"]}
    assert steady == {"x": "steady", "colour": "steady", "hint": "steady", "prediction": "steady"}

    toy.river(2000, shift=2.0, colours="rgby", error=3.0)
    role.when("/v1/alerts", lambda seen: len(seen["alerts"]) >= 6)
    assert role.on() == {
        "feature_drift/x",
        "feature_drift/colour", "unseen_category/colour", "prediction_drift/prediction",
        "prediction_drift/mean", "error_drift",
    }  # fmt: skip
    wait_for(lambda: len(listener.alerts()) >= 6)
    headers, body = listener.requests[0]
    signed = hmac.new(b"mum's the word", headers["X-Headrace-Timestamp"].encode() + b"." + body, hashlib.sha256)
    assert headers["X-Headrace-Signature"] == f"sha256={signed.hexdigest()}"

    role.end(signal.SIGKILL)
    toy.river(500, shift=2.0, colours="rgby", error=3.0)
    role.start()
    role.taken(6500)
    assert len(role.on()) == 6
    assert {(a.id, a.firing) for a in alerts_written(toy)} == {(a.id, True) for a in alerts_written(toy)}
    assert len(alerts_written(toy)) == 6  # each once, whatever was read again

    toy.river(4000)
    role.when("/v1/alerts", lambda seen: not seen["alerts"])
    assert role.end() == 0
    ended = alerts_written(toy)
    assert sorted(a.id for a in ended if a.firing) == sorted(a.id for a in ended if not a.firing)
    assert all(a.source == "drift" and a.since_us <= a.at_us for a in ended)


def test_a_silence_is_durable_and_keeps_an_alert_from_the_webhook(toy: Toy, role: Role, listener: Listener) -> None:
    toy.river(3000)
    role.taken(3000)
    status, made = role.send("/v1/silences", {"match": f"{toy.name}/feature_drift/*", "reason": "a fair", "by": "ana"})
    assert status == 201
    role.end(signal.SIGKILL)
    role.start()
    role.when("/v1/silences", lambda seen: made["id"] in {one["id"] for one in seen["silences"]})
    toy.river(1500, shift=2.0)
    seen = role.when("/v1/alerts", lambda seen: len(seen["alerts"]) >= 3)
    silenced = {alert["name"]: alert["silenced"] for alert in seen["alerts"]}
    assert silenced == {"feature_drift": True, "prediction_drift": False}
    wait_for(lambda: len(listener.alerts()) >= 2)
    assert {alert["name"] for alert in listener.alerts()} == {"prediction_drift"}
    assert role.send(f"/v1/silences/{made['id']}", method="DELETE")[0] == 200
    assert role.send(f"/v1/silences/{made['id']}", method="DELETE")[0] == 404
    role.when("/v1/alerts", lambda seen: not any(alert["silenced"] for alert in seen["alerts"]))
    identity = f"{toy.name}/feature_drift/x"
    assert role.send(f"/v1/alerts/{identity}/silence", {"for_s": 60})[0] == 201
    assert role.send("/v1/alerts/no/such/silence", {"for_s": 60})[0] == 404

    status, done = role.send("/v1/drift/reset", {"columns": ["x"]})
    assert (status, done) == (200, {"columns": ["x"]})
    columns = {column["column"]: column["state"] for column in role.get("/v1/drift")["columns"]}
    assert columns["x"] == "learning" or role.when("/v1/drift", lambda seen: seen["columns"][0]["state"] == "learning")
    assert role.send("/v1/drift/reset", {"columns": ["nothing"]})[0] == 404


def test_alerts_of_the_monitor_are_shown_and_told_beside_its_own(toy: Toy, role: Role, listener: Listener) -> None:
    role.when("/v1/drift", lambda seen: True)
    alert = Alert(
        id=f"{toy.name}/worker_failed/w1", model=toy.name, name="worker_failed", severity=Alert.WARNING,
        message="w1: no memory", firing=True, at_us=1,
    )  # fmt: skip
    listener.answers = [503]
    toy.producer.produce(
        topics.ALERTS.name(), key=toy.name, value=alert.SerializeToString(), partition=topics.model_partition(toy.name)
    )
    assert toy.producer.flush(60) == 0
    seen = role.when("/v1/alerts", lambda seen: seen["alerts"])
    assert [(a["subject"], a["source"]) for a in seen["alerts"]] == [("w1", "monitor")]
    wait_for(lambda: len(listener.requests) >= 2)  # refused once, and posted again
    assert json.loads(listener.requests[0][1])["alerts"] == json.loads(listener.requests[1][1])["alerts"]


def test_a_reference_that_was_being_learned_is_learned_again_after_a_kill(toy: Toy, role: Role) -> None:
    toy.river(1500)
    assert role.taken(1500)["reference"]["learned"] == 1500
    role.end(signal.SIGKILL)
    toy.river(200)
    role.start()
    assert role.taken(1700)["reference"]["learned"] == 1700


def test_events_that_cannot_be_read_are_told_and_the_others_go_on(toy: Toy, role: Role) -> None:
    toy.river(900)
    toy.broken(100)
    role.when("/v1/alerts", lambda seen: [alert["name"] for alert in seen["alerts"]] == ["unreadable_events"])
    assert role.when("/v1/drift", lambda seen: seen["counts"]["events"] == 1000)["counts"]["unreadable"] == 100


def test_a_second_role_of_the_pipeline_takes_over_and_the_first_ends(toy: Toy, role: Role, tmp_path: Path) -> None:
    role.when("/v1/drift", lambda seen: True)
    second = Role(toy, tmp_path / "second", TOY_SECRET="x")
    try:
        second.when("/v1/drift", lambda seen: True)
        sent = 0
        while role.process.poll() is None:  # it is fenced where it writes, and writes where there is something new
            toy.river(100)
            sent += 100
            second.taken(sent)
        assert role.process.returncode == 4
    finally:
        second.end(signal.SIGKILL)


def test_a_webhook_whose_secret_is_not_set_is_a_clear_error(toy: Toy, tmp_path: Path) -> None:
    role = Role(toy, tmp_path / "run")
    assert role.process.wait(120) == 2
    role.end()
    assert "webhook ops: TOY_SECRET is not set" in role.text()
    assert clients.partitions_of(toy.producer, topics.ALERTS.name()) > 0
