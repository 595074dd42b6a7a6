"""`headrace alerts` on a real broker, without any role."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.cli.catalogue import application
from headrace.contracts import topics
from headrace.contracts.events_pb2 import Alert
from headrace.runtime import kafka as clients
from headrace.runtime.settings import ServiceSettings


@pytest.fixture
def said(kafka: Any) -> Any:
    def run(*arguments: str, code: int = 0) -> str:
        command = ["alerts", *arguments, "--kafka", kafka.bootstrap_servers]
        done = CliRunner().invoke(application(), command, prog_name="headrace")
        assert done.exit_code == code, done.output
        return done.stdout

    return run


def test_alerts_are_listed_silenced_and_told_again(kafka: Any, said: Any) -> None:
    settings, model = ServiceSettings(kafka_bootstrap_servers=kafka.bootstrap_servers), kafka.unique("model")
    clients.ensure_topics(settings, topics.system_topics())
    producer, partition = clients.producer(settings), topics.model_partition(model)
    identity = f"{model}/feature_drift/zone"
    for firing, at_us in ((True, 5), (False, 6), (True, 7)):
        alert = Alert(
            id=identity, model=model, name="feature_drift", severity=Alert.WARNING, message="zone: PSI", firing=firing,
            at_us=at_us, since_us=7, subject="zone", source="drift",
        )  # fmt: skip
        producer.produce(topics.ALERTS.name(), key=model, value=alert.SerializeToString(), partition=partition)
    producer.produce(topics.ALERTS.name(), key=model, value=b"\xff", partition=partition)  # is skipped
    assert producer.flush(60) == 0

    def listed() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(said("list", "--model", model, "--json"))
        return found

    assert [(alert["id"], alert["since_us"], alert["silenced"]) for alert in listed()] == [(identity, 7, False)]
    assert identity in said("list", "--model", model)
    made = said("silence", f"{model}/*", "--for", "2h", "--reason", "a fair").split(":")[0]
    assert listed()[0]["silenced"]
    (silence,) = [one for one in json.loads(said("silences", "--json")) if one["id"] == made]
    assert (silence["match"], silence["reason"]) == (f"{model}/*", "a fair")
    said("unsilence", made)
    assert not listed()[0]["silenced"]
    said("unsilence", made, code=2)
    said("silence", "x", "--for", "soon", code=2)
