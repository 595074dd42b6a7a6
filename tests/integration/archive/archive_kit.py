"""A pipeline whose model needs no torch, its topics, and the role `archive` as a process."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
from confluent_kafka import Producer

from headrace.archive.fields.pipeline import FILE
from headrace.archive.fields.types import Field, PipelineFields
from headrace.archive.folder import root_of
from headrace.archive.queries.running import QueryLimits, ask
from headrace.contracts import topics
from headrace.contracts.records import Prediction, Sample, Samples
from headrace.model.code import code_digest
from headrace.runtime import kafka as clients
from headrace.runtime.endpoints import find
from headrace.runtime.settings import ServiceSettings
from tests.patience import WAIT_S, wait_for

EVENT = (Field("id", "string"), Field("x", "double"))
LABEL = (Field("id", "string"), Field("y", "double"))


class Toy:
    """A pipeline's folder, its topics, and records on them. Its fields are noted, so that no model is loaded."""

    def __init__(self, folder: Path, name: str, bootstrap: str, event: tuple[Field, ...] = EVENT) -> None:
        self.folder, self.name, self.run_dir = folder / "pipeline", name, folder / "run"
        self.folder.mkdir(parents=True)
        (self.folder / "pipeline.yaml").write_text(f"name: {name}\nmodel: model.py:Toy\ntopics: {{partitions: 2}}\n")
        self.storage = self.run_dir / "storage"
        self.root = root_of(self.storage, name)
        self.root.mkdir(parents=True)
        self.know(event)
        self.settings = ServiceSettings(kafka_bootstrap_servers=bootstrap)
        clients.ensure_topics(self.settings, [*topics.pipeline_topics(name, 2), *topics.system_topics()])
        self.producer: Producer = clients.producer(self.settings)

    def know(self, event: tuple[Field, ...]) -> None:
        """The pipeline's code now has these fields in its events."""
        known = PipelineFields(code_digest(self.folder), event, LABEL, Field("prediction", "double"))
        (self.root / FILE).write_bytes(msgspec.json.encode(known))

    def event(self, i: int, **further: Any) -> None:
        self.send(topics.EVENTS, i, {"id": f"k{i}", "x": float(i), **further})

    def flow(self, numbers: Sequence[int]) -> None:
        """Events, labels and predictions of these numbers."""
        for i in numbers:
            self.event(i)
            self.send(topics.LABELS, i, {"id": f"k{i}", "y": i / 2})
            made = Prediction(f"k{i}", i * 2.0, self.name, 3, "d", (i % 2, i // 2), 1000 + i, 2000 + i)
            self.send(topics.PREDICTIONS, i, made)
        self.flush()

    def send(self, spec: topics.TopicSpec, i: int, value: Any) -> None:
        body = value if isinstance(value, bytes) else msgspec.json.encode(value)
        self.producer.produce(spec.name(self.name), key=f"k{i}", value=body, partition=i % 2)

    def sample(self, metric: str, value: float, at_ms: int) -> None:
        taken = Samples(self.name, at_ms * 1000, "test", [Sample(metric, value, self.name)])
        partition, body = topics.model_partition(self.name), msgspec.json.encode(taken)
        self.producer.produce(topics.METRICS.name(), key=self.name, value=body, partition=partition)

    def flush(self) -> None:
        assert self.producer.flush(WAIT_S) == 0

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query over what is in the archive now."""
        table = ask(self.root, self.name, sql, QueryLimits(rows=None)).table
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def count(self, table: str) -> int:
        return int(self.ask(f"select count(*) from {table}")[0][0])


class Process:
    """The role, which kills itself at a durable step if one is named."""

    def __init__(self, toy: Toy, *flags: str, step: str = "never", times: int = 1) -> None:
        self.toy = toy
        toy.run_dir.mkdir(exist_ok=True)
        self._log = (toy.run_dir / "archive.log").open("ab")
        script = Path(__file__).with_name("dying_archive.py")
        folders = ("--pipeline", str(toy.folder), "--run-dir", str(toy.run_dir), "--storage-dir", str(toy.storage))
        quick = ("--flush-s", "0.3", "--scrape-s", "0", "--tidy-s", "0.3", "--merge", "4", "--grace-s", "0")
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": toy.settings.kafka_bootstrap_servers,
            "PYTHONPATH": str(Path(__file__).parents[3]),
        }
        self.process = subprocess.Popen(
            [sys.executable, str(script), step, str(times), *folders, *quick, *flags], stderr=self._log, env=environment
        )

    def wait_for(self, condition: Any) -> None:
        def holds() -> bool:
            assert self.process.poll() is None, self.text()
            return bool(condition())

        wait_for(holds)

    def died(self) -> None:
        """Wait until it has killed itself."""
        self._log.close()
        try:
            code = self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = 0  # it never came to that step
        assert code == -signal.SIGKILL, self.text()

    def url(self) -> str:
        self.wait_for(lambda: find(self.toy.run_dir, "archive", "rest"))
        return find(self.toy.run_dir, "archive", "rest")[0]

    def get(self, path: str, **query: Any) -> Any:
        answer = httpx.get(self.url() + path, params=query, timeout=WAIT_S)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def text(self) -> str:
        return (self.toy.run_dir / "archive.log").read_text()[-4000:]

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self._log.close()
        return self.process.wait(WAIT_S)
