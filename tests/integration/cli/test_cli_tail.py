"""`headrace tail` on real topics."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from headrace.cli.catalogue import application
from headrace.contracts import topics
from headrace.contracts.events_pb2 import CheckpointPublished, DeadLetter
from headrace.runtime import kafka as clients
from headrace.runtime.settings import ServiceSettings


@pytest.fixture
def pipeline(kafka: Any) -> str:
    """A pipeline's topics with 30 events, some of them of an aborted transaction, and system events."""
    name = kafka.unique("toy")
    settings = ServiceSettings(kafka_bootstrap_servers=kafka.bootstrap_servers)
    clients.ensure_topics(settings, [*topics.pipeline_topics(name, 2), *topics.system_topics()])
    producer = clients.transactional_producer(settings, f"test.{name}")
    events = topics.EVENTS.name(name)
    for batch in range(3):
        producer.begin_transaction()
        for i in range(batch * 10, batch * 10 + 10):
            producer.produce(
                events, json.dumps({"i": i}).encode(), f"k{i}".encode(), i % 2, timestamp=1_700_000_000_000 + i
            )
        producer.commit_transaction()
    producer.begin_transaction()
    producer.produce(events, b'{"i": "aborted"}', b"k", 0)
    producer.flush()
    producer.abort_transaction()
    producer.begin_transaction()
    published = CheckpointPublished(model=name, version=3, manifest=b"x" * 1000)
    producer.produce(topics.CHECKPOINTS.name(), published.SerializeToString(), name.encode())
    letter = DeadLetter(topic=events, partition=1, offset=4, value=b"{no", reason="malformed", phase="decode")
    producer.produce(topics.dead_letters(events), letter.SerializeToString(), b"k4")
    producer.commit_transaction()
    return name


def tail(kafka: Any, *arguments: str) -> list[str]:
    result = CliRunner().invoke(application(), ["tail", *arguments, "--kafka", kafka.bootstrap_servers])
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_the_newest_records_over_all_partitions_in_order(kafka: Any, pipeline: str) -> None:
    lines = tail(kafka, f"{pipeline}.events", "-n", "5")
    assert [json.loads(line.split("  ")[-1])["i"] for line in lines] == [25, 26, 27, 28, 29]
    assert "k29" in lines[-1]
    assert "22:13:20.029Z" in lines[-1]


def test_as_many_as_there_are_in_spite_of_transaction_markers(kafka: Any, pipeline: str) -> None:
    assert len(tail(kafka, f"{pipeline}.events", "-n", "100")) == 30


def test_values_alone_are_what_was_produced(kafka: Any, pipeline: str) -> None:
    assert [json.loads(line) for line in tail(kafka, f"{pipeline}.events", "-n", "2", "--values")] == [
        {"i": 28},
        {"i": 29},
    ]


def test_the_oldest_records_of_each_partition(kafka: Any, pipeline: str) -> None:
    records = [json.loads(line) for line in tail(kafka, f"{pipeline}.events", "--from", "start", "-n", "30", "--json")]
    assert sorted(r["value"]["i"] for r in records) == list(range(30))
    for partition in (0, 1):
        offsets = [r["offset"] for r in records if r["partition"] == partition]
        assert offsets == sorted(offsets)
    assert len(tail(kafka, f"{pipeline}.events", "--from", "start", "-n", "4")) == 4


def test_system_events_and_dead_letters_are_decoded(kafka: Any, pipeline: str) -> None:
    records = [json.loads(line) for line in tail(kafka, "checkpoints", "-n", "50", "--json")]
    ours = next(r["value"] for r in records if r["key"] == pipeline)
    assert (ours["version"], ours["manifest"]) == (3, "(1,000 bytes)")
    (letter,) = tail(kafka, f"{pipeline}.events.dlq")
    assert '"reason":"malformed"' in letter
    assert '"value":"{no"' in letter


def test_an_empty_topic_and_an_unknown_one(kafka: Any, pipeline: str) -> None:
    assert tail(kafka, f"{pipeline}.labels") == []
    result = CliRunner().invoke(application(), ["tail", "nope", "--kafka", kafka.bootstrap_servers])
    assert result.exit_code == 2
    assert "no topic 'nope'" in result.output
