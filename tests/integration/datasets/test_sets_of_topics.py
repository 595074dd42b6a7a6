"""Sets of a topic's range, training on them, and what retention keeps, on a real broker."""

import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from headrace.contracts.events_pb2 import CheckpointPublished
from headrace.contracts.topics import CHECKPOINTS, SYSTEM_PARTITIONS
from headrace.datasets.errors import SetInUse
from headrace.datasets.importing.job import Topic
from headrace.datasets.opening import open_access
from headrace.datasets.retention import remove
from headrace.datasets.using.opened import OpenSet
from headrace.model.pipeline import load_pipeline
from headrace.runtime.errors import DependencyError
from headrace.runtime.kafka import ensure_topics
from headrace.runtime.settings import ServiceSettings
from headrace.training.job import TrainingJob
from services.trainer.offline.service import run_job
from tests.datasets_kit import Sets
from tests.line_kit import example, read_all, write_toy
from tests.patience import WAIT_S

START_MS = 1_700_000_000_000


class Topics(Sets):
    """Sets in the settings' own store, told of on Kafka."""

    def __init__(self, kafka: Any, folder: Path) -> None:
        super().__init__(folder)
        self.name = kafka.unique("sets")
        self.path = write_toy(folder / self.name, self.name)
        self.settings = ServiceSettings(
            kafka_bootstrap_servers=kafka.bootstrap_servers, run_dir=folder / "run"
        ).for_role("datasets")
        self.access = open_access(self.settings)
        self.catalogue = self.access.catalogue
        ensure_topics(self.settings, load_pipeline(self.path).topics)

    def producer(self, **more: Any) -> Producer:
        return Producer({"bootstrap.servers": self.settings.kafka_bootstrap_servers, **more})


@pytest.fixture
def topics(kafka: Any, tmp_path: Path) -> Topics:
    return Topics(kafka, tmp_path)


def test_a_range_is_exactly_its_committed_records_and_stays_so(topics: Topics) -> None:
    topic = f"{topics.name}.events"
    producer = topics.producer(**{"transactional.id": topics.name})
    producer.init_transactions(WAIT_S)
    kept = []
    for batch in range(6):  # every other transaction is aborted
        producer.begin_transaction()
        for i in range(5):
            value = {"id": f"k{batch}-{i}", "x": float(i)}
            producer.produce(topic, json.dumps(value).encode(), b"k", 0, timestamp=START_MS + 1000 * batch)
            if batch % 2:
                kept.append(value)
        producer.flush(WAIT_S)
        (producer.commit_transaction if batch % 2 else producer.abort_transaction)(WAIT_S)
    job = topics.job("e", Topic(topic))
    assert topics.run(job).rows == {"e@1": 15}
    rows = topics.rows("e")
    assert [{"id": row["id"], "x": row["x"]} for row in rows] == kept
    manifest = topics.catalogue.manifest("e")
    assert (manifest.holds, manifest.key, manifest.time) == ("events", "_key", "_time")
    end = manifest.source.details["offsets"]["0"][1]
    assert [row["_offset"] for row in rows] == [o for b in (1, 3, 5) for o in range(6 * b, 6 * b + 5)]
    assert topics.access.announcer.announced()["e@1"].manifest_digest == manifest.digest
    producer.begin_transaction()
    producer.produce(topic, b'{"id": "later", "x": 1}', b"k", 0)
    producer.commit_transaction(WAIT_S)
    topics.take("some", Topic(topic, "0:8", f"0:{end - 8}"))
    assert [row["_offset"] for row in topics.rows("some")] == [
        o for o in topics.column("e", "_offset") if 8 <= o < end - 8
    ]
    topics.take("timed", Topic(topic, "2023-11-14T22:13:23+00:00", "2023-11-14T22:13:24+00:00"))
    assert topics.column("timed", "id") == [f"k3-{i}" for i in range(5)]


def test_a_record_that_is_none_is_told_of_with_its_offset(topics: Topics) -> None:
    producer = topics.producer()
    for value in (b'{"id": "a", "x": 1}', b"{", b"[1]"):
        producer.produce(f"{topics.name}.events", value, b"k", 1)
    assert producer.flush(WAIT_S) == 0
    topics.take("e", Topic(f"{topics.name}.events"), max_bad_rows=2)
    assert [row.place for row in topics.told.bad_rows] == [f"{topics.name}.events[1] at {o}" for o in (1, 2)]
    assert topics.column("e", "id") == ["a"]


def test_what_a_served_version_learned_from_is_not_removed_and_its_event_names_it(topics: Topics) -> None:
    producer = topics.producer()
    for offset in range(200):
        at = START_MS + 1000 * offset
        producer.produce(f"{topics.name}.examples", example(0, offset, at, offset / 100), b"k", 0, timestamp=at)
    assert producer.flush(WAIT_S) == 0
    for _ in range(2):
        topics.take("x", Topic(f"{topics.name}.examples"))
    manifest = topics.catalogue.manifest("x@1")
    assert (manifest.holds, manifest.time, manifest.label_time) == ("examples", "_event_time", "_label_time")
    job = TrainingJob(
        pipeline=str(topics.path), folder=str(topics.folder / "job"), data="datasets", datasets=["x@1"], hand_over=True
    )
    report = run_job(job, topics.settings, lambda *_: None, lambda: None)
    assert report.parts["train"].examples == 160
    events = [
        CheckpointPublished.FromString(m.value() or b"")
        for m in read_all(topics.settings.kafka_bootstrap_servers, CHECKPOINTS.name(), SYSTEM_PARTITIONS)
    ]
    (event,) = [event for event in events if event.model == topics.name]
    assert json.loads(event.origin["data"]) == {"datasets": [manifest.reference]}
    with pytest.raises(SetInUse, match=rf"x@1: {topics.name} version {report.version} learned from it"):
        remove(topics.access, manifest)
    assert len(topics.rows("x@1")) == 200
    remove(topics.access, topics.catalogue.manifest("x@2"))
    assert topics.catalogue.versions("x") == [1]
    assert topics.access.announcer.announced()["x@2"].removed


def test_without_kafka_nothing_is_removed(topics: Topics) -> None:
    topics.csv("a", "v\n1\n")
    away = topics.settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(DependencyError):
        remove(open_access(away), topics.catalogue.manifest("a"))
    assert OpenSet.of(topics.catalogue, "a@1").rows(0, 5) == [{"v": 1}]
