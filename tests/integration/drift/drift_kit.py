"""A pipeline's topics and what a stream would put on them, and the drift role as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from confluent_kafka import Producer

from headrace.contracts import topics
from headrace.contracts.records import Prediction
from headrace.runtime import kafka as clients
from headrace.runtime.endpoints import find
from headrace.runtime.settings import ServiceSettings
from tests.patience import WAIT_S

PIPELINE = """
name: {name}
model: model.py:Doubling
topics: {{partitions: 2}}
drift:
  reference: {{events: 2000}}
  windows: [500, 1000]
  error_examples: 500
{more}
"""

MODEL = """
from collections.abc import Sequence

import msgspec
import torch

from headrace import Model


class Event(msgspec.Struct):
    id: str
    x: float
    colour: str
    hint: float | None = None


class Label(msgspec.Struct):
    id: str
    y: float


class Doubling(Model[Event, Label]):
    key = "id"
    error_unit = "m"

    def network(self) -> torch.nn.Module:
        return torch.nn.Linear(1, 1)

    def features(self, events: Sequence[Event]) -> torch.Tensor:
        return torch.tensor([[e.x] for e in events])

    def loss(self, outputs: torch.Tensor, labels: Sequence[Label]) -> torch.Tensor:
        return outputs.mean()

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        return outputs[:, 0].tolist()

    def error(self, prediction: float, label: Label) -> float:
        return abs(prediction - label.y)
"""


class Toy:
    """A pipeline's folder and its topics."""

    def __init__(self, folder: Path, name: str, bootstrap: str, more: str = "") -> None:
        self.folder, self.name = folder, name
        folder.mkdir()
        (folder / "pipeline.yaml").write_text(PIPELINE.format(name=name, more=more))
        (folder / "model.py").write_text(MODEL)
        self.settings = ServiceSettings(kafka_bootstrap_servers=bootstrap)
        clients.ensure_topics(self.settings, [*topics.pipeline_topics(name, 2), *topics.system_topics()])
        self.producer: Producer = clients.producer(self.settings)
        self._rng, self._sent = np.random.default_rng(5), 0

    def river(self, count: int, *, shift: float = 0.0, colours: str = "rgb", error: float = 1.0) -> None:
        """Events with predictions and labels; `error` is the mean error."""
        rng = self._rng
        xs, wrong = rng.normal(shift, 1, count).tolist(), rng.exponential(error, count).tolist()
        chosen = rng.integers(0, len(colours), count).tolist()
        for x, off, colour in zip(xs, wrong, chosen, strict=True):
            i, now = self._sent, time.time()
            self._sent += 1
            key, partition = f"k{i}", i % 2
            self._send(topics.EVENTS, key, {"id": key, "x": x, "colour": colours[colour]}, partition)
            made = Prediction(key, x, self.name, 1, "d", (partition, i // 2), int(now * 1000) - 10, int(now * 1e6))
            self._send(topics.PREDICTIONS, key, made, partition)
            self._send(topics.LABELS, key, {"id": key, "y": x + off}, partition)
        assert self.producer.flush(WAIT_S) == 0

    def broken(self, count: int) -> None:
        """Events that are none."""
        for i in range(count):
            self.producer.produce(topics.EVENTS.name(self.name), key=f"b{i}", value=b'{"id": 3', partition=i % 2)
        assert self.producer.flush(WAIT_S) == 0

    def _send(self, spec: topics.TopicSpec, key: str, value: Any, partition: int) -> None:
        topic = spec.name(self.name)
        self.producer.produce(topic, key=key, value=msgspec.json.encode(value), partition=partition)


class Role:
    """`python -m services.drift`, and what it answers."""

    def __init__(self, toy: Toy, run_dir: Path, **environment: str) -> None:
        self.toy, self.run_dir, self._environment = toy, run_dir, environment
        run_dir.mkdir(exist_ok=True)
        self.start()

    def start(self) -> None:
        self._log = (self.run_dir / "drift.log").open("ab")
        command = [
            sys.executable, "-m", "services.drift", "--pipeline", str(self.toy.folder), "--run-dir", str(self.run_dir),
            "--tick-s", "0.1", "--lag-s", "0.2", "--state-s", "1",
        ]  # fmt: skip
        bootstrap = {"KAFKA_BOOTSTRAP_SERVERS": self.toy.settings.kafka_bootstrap_servers}
        env = {**os.environ, **bootstrap, **self._environment}
        self.process = subprocess.Popen(command, stderr=self._log, env=env)

    def get(self, path: str) -> Any:
        """A GET's JSON; None while nothing answers."""
        for url in find(self.run_dir, "drift", "rest"):
            try:
                with urllib.request.urlopen(f"{url}{path}", timeout=10) as answer:
                    return json.loads(answer.read())
            except OSError:
                continue  # the file that a killed one left, or not read yet
        return None

    def send(self, path: str, body: Mapping[str, Any] | None = None, method: str = "POST") -> tuple[int, Any]:
        """Status and JSON of a request with a body."""
        url = find(self.run_dir, "drift", "rest")[-1]
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{url}{path}", data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def when(self, path: str, condition: Callable[[Any], object]) -> Any:
        """What a path answers once the condition holds."""
        deadline, seen = time.monotonic() + WAIT_S, None
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.text()
            if (seen := self.get(path)) is not None and condition(seen):
                return seen
            time.sleep(0.3)
        pytest.fail(f"not within {WAIT_S} s: {seen}\n{self.text()}")

    def taken(self, events: int) -> Any:
        """The snapshot once so many events, and as many predictions and labels, were taken."""
        kinds = ("events", "predictions", "labels")
        return self.when("/v1/drift", lambda seen: all(seen["counts"][kind] >= events for kind in kinds))

    def on(self) -> set[str]:
        """The ids, without the model, of the alerts that are on."""
        return {alert["id"].partition("/")[2] for alert in self.get("/v1/alerts")["alerts"]}

    def text(self) -> str:
        return (self.run_dir / "drift.log").read_text()[-6000:]

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self._log.close()
        return self.process.wait(WAIT_S)


class Listener:
    """A webhook on this machine that keeps what it is sent. `answers` are the statuses to come, then 200."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.elsewhere = 0
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/elsewhere":
                    listener.elsewhere += 1
                listener.requests.append((dict(self.headers), body))
                status = listener.answers.pop(0) if listener.answers else 200
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815 - the base class's name

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def alerts(self) -> list[dict[str, Any]]:
        return [alert for _, body in self.requests for alert in json.loads(body)["alerts"]]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def records(toy: Toy, topic: str) -> Iterator[Any]:
    """Every committed record of a system topic."""
    from headrace.runtime.topic_reader import TopicReader

    consumer = clients.consumer(toy.settings, "reads", **{"enable.partition.eof": True})
    try:
        yield from TopicReader(consumer, topic).first(100_000)
    finally:
        consumer.close()
