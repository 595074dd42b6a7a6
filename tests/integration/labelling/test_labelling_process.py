"""The role `labelling` on a real broker: each label is published once, whatever is killed, and learned from."""

import json
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
from confluent_kafka import Producer

from headrace.contracts.events_pb2 import Alert, DeadLetter
from headrace.contracts.records import Prediction
from headrace.contracts.topics import ALERTS, EXAMPLES, LABELS, dead_letters, model_partition
from headrace.model.pipeline import load_pipeline
from headrace.runtime.errors import ExitCode
from headrace.runtime.kafka import ensure_topics
from headrace.runtime.settings import ServiceSettings
from services.trainer.checkpoint import CheckpointFolder
from tests.line_kit import RoleProcess, read_all, running, write_toy
from tests.patience import WAIT_S, wait_for

BASE = "/v1/labelling"


class Desk:
    """A toy pipeline, its events and predictions on Kafka, and the role's REST."""

    def __init__(self, kafka: Any, folder: Path, models: Any = (), **labelling: Any) -> None:
        self.name, self.kafka = kafka.unique("toy"), kafka.bootstrap_servers
        self.folder = write_toy(
            folder / "pipeline", self.name, window_s=600, labels={"conflicting": "corrected"}, models=models,
            checkpoint_examples=5, checkpoint_s=0.2,
        )  # fmt: skip
        with (self.folder / "pipeline.yaml").open("a") as file:
            file.write(f"labelling: {json.dumps({'hold_s': 0, 'after_s': 0, **labelling})}\n")
        self.run_dir = folder / "run"
        self.settings = ServiceSettings(kafka_bootstrap_servers=self.kafka, run_dir=self.run_dir).for_role("test")
        ensure_topics(self.settings, load_pipeline(self.folder).topics)
        self.producer = Producer({"bootstrap.servers": self.kafka, "enable.idempotence": True})
        self.url = ""

    def arguments(self, role: str = "labelling", number: int = 0) -> tuple[Any, ...]:
        return role, f"{role}-{number}", self.folder, self.run_dir, self.kafka

    def serve(self, process: RoleProcess) -> None:
        self.url = process.endpoints().endpoints["rest"]

    def predict(self, numbers: range, shadow: str = "") -> None:
        """Events and their predictions; event n is the n-th of partition 0, and a shadow differs by n from 0.5."""
        now = round(time.time() * 1000)
        for n in numbers:
            key = f"k{n}"
            self.producer.produce(f"{self.name}.events", json.dumps({"id": key, "x": n / 10}), key, partition=0)
            made = Prediction(key, 0.5, self.name, 1, "c", (0, n), now, now * 1000)
            self.producer.produce(f"{self.name}.predictions", msgspec.json.encode(made), key, partition=0)
            if shadow:
                made.model, made.prediction = f"{self.name}.{shadow}", 0.5 + n
                self.producer.produce(f"{self.name}.shadows", msgspec.json.encode(made), key, partition=0)
        assert self.producer.flush(WAIT_S) == 0

    def get(self, path: str) -> Any:
        answer = httpx.get(f"{self.url}{BASE}{path}", timeout=WAIT_S)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, expect: int = 200, **body: Any) -> Any:
        answer = httpx.post(f"{self.url}{BASE}{path}", json=body, timeout=WAIT_S)
        assert answer.status_code == expect, answer.text
        return answer.json()

    def count(self, what: str, queue: str = "all") -> int:
        return int(self.get(f"/queues/{queue}")[what])

    def lease(self, labeller: str, **options: Any) -> Any:
        return self.post("/queues/all/lease", labeller=labeller, **options)["item"]

    def label_next(self, labeller: str, y: float) -> Any:
        item = self.lease(labeller)
        return self.post(f"/items/{item['id']}/label", labeller=labeller, label={"y": y})

    def labels(self, expected: int) -> list[Any]:
        """Committed records of the labels topic."""
        return read_all(self.kafka, LABELS.name(self.name), 2, expected)


def test_a_persons_label_is_joined_and_the_model_learns_from_it(kafka: Any, tmp_path: Path) -> None:
    """And a label that is undone and given anew is learned from as a correction."""
    desk = Desk(kafka, tmp_path)
    desk.predict(range(8))
    with running(*desk.arguments()) as process, running(*desk.arguments("join")), running(*desk.arguments("trainer")):
        desk.serve(process)
        wait_for(lambda: desk.count("open") == 8)
        item = desk.lease("ana")
        assert (item["id"], item["event"], item["prediction"]) == ("0-0", {"id": "k0", "x": 0.0}, 0.5)
        refused = desk.post("/items/0-0/label", 400, labeller="ana", label={"y": "high"})
        assert (refused["field"], "y: Expected `float`" in refused["error"]) == ("y", True)
        for n in range(8):
            assert desk.label_next("ana", float(n))["state"] == "published"
        assert desk.lease("ana") is None
        undone = desk.post("/queues/all/undo", labeller="ana")
        assert (undone["item"]["key"], undone["was_published"]) == ("k7", True)
        desk.post("/items/0-7/label", labeller="ana", label={"y": 70.0})
        examples = [
            load_pipeline(desk.folder).example_decoder.decode(m.value() or b"")
            for m in read_all(desk.kafka, EXAMPLES.name(desk.name), 2, 9)
        ]
        wanted = [(f"k{n}", n / 10, float(n), "label") for n in range(8)]
        assert sorted((e.key, e.event.x, e.label.y, e.kind) for e in examples) == sorted(
            [*wanted, ("k7", 0.7, 70.0, "corrected")]
        )
        labels = desk.labels(9)
        assert {m.partition() for m in labels} == {0}
        assert {dict(m.headers() or ())["headrace-labeller"] for m in labels} == {b"ana"}
        learned = CheckpointFolder(desk.settings.storage_folder, desk.name)
        wait_for(lambda: any(header.examples == 9 for _, header in learned.readable()))
        assert process.stop() == 0


ITEMS = 40


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def work(desk: Desk, labeller: str, over: threading.Event) -> None:
    """Take items and label them until none is left; ask again for whatever got no answer."""
    while not over.is_set():
        try:
            item = desk.lease(labeller)
            if item is None:
                return
            desk.post(f"/items/{item['id']}/label", labeller=labeller, label={"y": float(item["key"][1:])})
        except httpx.TransportError:
            time.sleep(0.02)  # it is being killed and started again
        except AssertionError as error:
            if not REFUSED.search(str(error)):
                raise


REFUSED = re.compile("still being read|stopping|ask again")


def test_killed_while_people_label_it_publishes_each_label_once_and_forgets_nothing(kafka: Any, tmp_path: Path) -> None:
    desk = Desk(kafka, tmp_path)
    desk.predict(range(ITEMS))
    over = threading.Event()
    port = ("--rest-port", str(free_port()))
    with ThreadPoolExecutor(3) as pool:
        try:
            with running(*desk.arguments(), *port) as first:
                desk.serve(first)
                wait_for(lambda: desk.count("open") == ITEMS)
                cleos = desk.lease("cleo")
                people = [pool.submit(work, desk, who, over) for who in ("ana", "ben")]
                wait_for(lambda: desk.count("published") > ITEMS / 4)
                first.stop(signal.SIGKILL)
            with running(*desk.arguments(), *port) as second:
                desk.serve(second)
                assert desk.lease("cleo")["id"] == cleos["id"]
                for one in people:
                    one.result(WAIT_S)
                assert (desk.count("published"), desk.count("open")) == (ITEMS - 1, 1)
                shown = desk.get("/queues/all/items?state=published&limit=1000")["items"]
                with running(*desk.arguments(number=1)) as heir:
                    heir.endpoints()
                    desk.url, refused = heir.endpoints().endpoints["rest"], desk.url
                    assert desk.label_next("cleo", 1000.0)["key"] == cleos["key"]
                    with suppress(httpx.TransportError):
                        httpx.post(f"{refused}{BASE}/queues/all/undo", json={"labeller": "ana"}, timeout=WAIT_S)
                    assert second.process.wait(WAIT_S) == ExitCode.FENCED
                    assert desk.count("published") == ITEMS
        finally:
            over.set()
    published = {m.key().decode(): json.loads(m.value())["y"] for m in desk.labels(ITEMS)}
    assert len(desk.labels(ITEMS)) == ITEMS
    assert published == {f"k{n}": float(n) for n in range(ITEMS)} | {cleos["key"]: 1000.0}
    assert all(len(item["published"]) == 1 and len(item["decisions"]) == 1 for item in shown)
    assert {item["decisions"][0]["labeller"] for item in shown} == {"ana", "ben"}


def test_queues_fill_from_shadows_alerts_and_dead_letters_and_empty_by_others_labels(
    kafka: Any, tmp_path: Path
) -> None:
    desk = Desk(kafka, tmp_path, models=[{"name": "s", "role": "shadow"}], after_s=0.5)
    alert = Alert(id=f"{desk.name}/slice_error/x=0.3", model=desk.name, firing=True)
    events, labels = f"{desk.name}.events", f"{desk.name}.labels"
    where = model_partition(desk.name)
    desk.producer.produce(ALERTS.name(), alert.SerializeToString(), desk.name, partition=where)
    letters = [
        DeadLetter(topic=events, partition=0, offset=9, phase="features", reason="x", value=b'{"id":"k9","x":0.9}'),
        DeadLetter(topic=events, partition=0, offset=10, phase="decode", reason="no JSON", value=b"{"),
        DeadLetter(topic=labels, partition=1, offset=3, phase="decode", reason="y", key=b"k77", value=b'{"y":"?"}'),
        DeadLetter(topic=labels, partition=1, offset=4, phase="join", reason="late", key=b"k78", value=b'{"y":1}'),
    ]
    for letter in letters:
        desk.producer.produce(dead_letters(letter.topic), letter.SerializeToString(), letter.key, partition=0)
    desk.predict(range(8), shadow="s")
    desk.producer.produce(labels, b'{"id": "k2", "y": 1.0}', "k2", partition=0)
    desk.producer.produce(f"{desk.name}.predictions", b"{no json", "k", partition=1)
    desk.producer.flush(WAIT_S)
    with running(*desk.arguments()) as process:
        desk.serve(process)
        ids = lambda queue: [item["id"] for item in desk.get(f"/queues/{queue}/items")["items"]]  # noqa: E731
        wait_for(lambda: len(ids("all")) == 7)
        assert ids("all") == [f"0-{n}" for n in (0, 1, 3, 4, 5, 6, 7)]
        assert ids("uncertain") == ids("disagreement") == [f"0-{n}" for n in (7, 6, 5, 4, 3, 1, 0)]
        assert ids("drifted") == ["0-3"]
        assert sorted(ids("dead-letters")) == ["0-9", "l1-3"]
        desk.producer.produce(labels, b'{"id": "k5", "y": 1.0}', "k5", partition=0)
        desk.producer.flush(WAIT_S)
        wait_for(lambda: "0-5" not in ids("all"))
        with httpx.stream("GET", f"{desk.url}{BASE}/events", timeout=WAIT_S) as stream:
            data = next(line for line in stream.iter_lines() if line.startswith("data:"))
            assert [queue["name"] for queue in json.loads(data[5:])["queues"]][:2] == ["all", "sampled"]
        assert process.stop() == 0
