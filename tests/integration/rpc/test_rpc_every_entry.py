"""The same events through gRPC, REST, shared memory, the stream and a batch job: the same bytes, batched or alone."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from confluent_kafka import Consumer, Producer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from headrace.contracts.records import Prediction
from headrace.contracts.topics import EVENTS, PREDICTIONS, pipeline_topics
from headrace.model.pipeline import Pipeline, load_pipeline
from tests.integration.rpc.every_entry import Entries
from tests.integration.rpc.rpc_clients import Client
from tests.integration.rpc.rpc_process import start, stop
from tests.patience import WAIT_S

ROOT = Path(__file__).parents[3]
EVENTS_EACH = 48
HERE = ("http binary", "http.aio binary", "grpc.aio binary")
"""Whose clients can be used only in the thread that made them."""


def trained(pipeline: Pipeline, events: Sequence[Any]) -> dict[str, torch.Tensor]:
    """Weights after some steps on made-up labels: none is as it began."""
    torch.manual_seed(5)
    network, label = pipeline.model.network(), pipeline.model.label_type()
    asked = {f.name: 0.0 for f in msgspec.structs.fields(label)} | {pipeline.model.key: ""}
    value = next(name for name in asked if name in ("minutes", "arr_delay"))
    labels = [msgspec.convert({**asked, value: 7.0 + i % 13}, label) for i in range(len(events))]
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    features = pipeline.model.features(events)
    for _ in range(8):
        optimizer.zero_grad()
        pipeline.model.loss(network(features), labels).backward()
        optimizer.step()
    return {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}


@dataclass
class Model:
    """An example, its weights in a file, and its processes."""

    kafka: Any
    folder: Path
    pipeline: Pipeline
    events: list[Any]
    entries: Any = None
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    @property
    def weights(self) -> str:
        return str(self.folder / "weights.safetensors")

    def start(self) -> None:
        rpc, endpoints = start(self.folder, "--weights", self.weights, pipeline=self.pipeline.folder)
        self.processes.append(rpc)
        http, grpc = endpoints["rest"].removeprefix("http://"), endpoints["grpc"]
        self.entries = Entries(self.pipeline.name, http, grpc, lambda kind: Client(kind, http, grpc))
        self.kafka.create_topics({t.name: t.partitions for t in pipeline_topics(self.pipeline.name, 4)})
        line = [
            "--pipeline", str(self.pipeline.folder), "--run-dir", str(self.folder / "run"), "--instance", "stream-0",
            "--kafka-bootstrap-servers", self.kafka.bootstrap_servers,
        ]  # fmt: skip
        with (self.folder / "stream.log").open("wb") as log:
            worker = [sys.executable, str(ROOT / "tests" / "stream_worker.py"), *line]
            env = {**os.environ, "STREAM_WEIGHTS": self.weights}
            self.processes.append(subprocess.Popen(worker, stdout=log, stderr=log, env=env))

    def close(self) -> None:
        if self.entries is not None:
            self.entries.close()
        for process in self.processes:
            stop(process)

    def key(self, event: Any) -> str:
        return str(getattr(event, self.pipeline.model.key))

    def streamed(self) -> bytes:
        """What the stream predicts of the events, in their order."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap_servers})
        for event in self.events:
            producer.produce(EVENTS.name(self.pipeline.name), key=self.key(event), value=msgspec.json.encode(event))
        assert producer.flush(WAIT_S) == 0
        consumer = Consumer(
            {"bootstrap.servers": self.kafka.bootstrap_servers, "group.id": self.kafka.unique("every"),
             "auto.offset.reset": "earliest", "isolation.level": "read_committed", "enable.auto.commit": False}
        )  # fmt: skip
        consumer.subscribe([PREDICTIONS.name(self.pipeline.name)])
        found: dict[str, float] = {}
        try:
            while len(found) < len(self.events):
                message = consumer.poll(WAIT_S)
                assert message is not None, (self.folder / "stream.log").read_text()[-3000:]
                assert message.error() is None, message.error()
                one = msgspec.json.decode(message.value(), type=Prediction)
                found[one.key] = one.prediction
        finally:
            consumer.close()
        return np.array([found[self.key(event)] for event in self.events]).tobytes()

    def from_a_file(self) -> bytes:
        """What `headrace batch` makes of a file of them."""
        source, target = self.folder / "in.parquet", self.folder / "out.parquet"
        rows = [msgspec.to_builtins(event) for event in self.events]
        pq.write_table(pa.Table.from_pylist(rows), source, row_group_size=17)
        command = [sys.executable, "-m", "headrace", "batch", str(self.pipeline.folder), "--weights", self.weights]
        command += ["--input", str(source), "--output", str(target), "--workers", "1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return np.array(pq.read_table(target).column("prediction").to_pylist()).tobytes()


@pytest.fixture(scope="module", params=["flights", "rides"])
def model(request: pytest.FixtureRequest, kafka: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copytree(
        ROOT / "examples" / request.param, folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__")
    )
    spec, name = folder / "pipeline" / "pipeline.yaml", kafka.unique(request.param)
    spec.write_text(spec.read_text().replace(f"name: {request.param}\n", f"name: {name}\n"))
    pipeline = load_pipeline(folder / "pipeline")
    events = list({getattr(e, pipeline.model.key): e for e in pipeline.source().sample(EVENTS_EACH)}.values())
    save_file(trained(pipeline, events), folder / "weights.safetensors")
    one = Model(kafka, folder, pipeline, events)
    try:
        one.start()
        yield one
    finally:
        one.close()


@pytest.fixture(scope="module")
def alone(model: Model) -> list[bytes]:
    """The prediction of each event, asked by itself."""
    found = [model.entries.ways["grpc binary"]([event]) for event in model.events]
    assert len(set(found)) > len(found) / 2
    return found


def test_the_stream_and_batch_jobs_predict_what_rpc_does(model: Model, alone: list[bytes]) -> None:
    expected = b"".join(alone)

    assert model.streamed() == expected
    assert model.from_a_file() == expected


def test_every_entry_gives_the_same_bytes_for_any_batches_at_once(model: Model, alone: list[bytes]) -> None:
    ways = model.entries.ways
    batch = st.lists(st.integers(0, len(model.events) - 1), min_size=1, max_size=40)

    @settings(max_examples=12, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.fixed_dictionaries(dict.fromkeys(ways, batch)))
    def compare(batches: dict[str, list[int]]) -> None:
        asked = {way: [model.events[i] for i in chosen] for way, chosen in batches.items()}
        together = {way: pool.submit(ways[way], events) for way, events in asked.items() if way not in HERE}
        answers = {way: ways[way](asked[way]) for way in HERE}
        answers |= {way: one.result(WAIT_S) for way, one in together.items()}
        for way, chosen in batches.items():
            assert answers[way] == b"".join(alone[i] for i in chosen), way

    with ThreadPoolExecutor(len(ways)) as pool:
        compare()
