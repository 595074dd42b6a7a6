"""A small fleet of real processes: coordinator, agent, workers; and a trainer's part played by the test."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from confluent_kafka import Producer, TopicPartition
from torch import nn
from typer.testing import CliRunner

from headrace.cli.catalogue import application
from headrace.contracts.events_pb2 import Alert, CheckpointPublished, Operation, WeightsApplied
from headrace.contracts.topics import (
    ALERTS,
    APPLIED,
    CHECKPOINTS,
    OPERATIONS,
    TopicSpec,
    model_partition,
    system_topics,
)
from headrace.runtime import kafka as clients
from headrace.runtime.endpoints import find
from headrace.runtime.settings import ServiceSettings
from headrace.weights import (
    Bound,
    ChunkStore,
    LiveWeights,
    Manifest,
    VersionFacts,
    agent_socket,
    checkpoint_event,
    open_store,
    publish_version,
)
from headrace.weights.host.slots import remove_stale_pools
from tests.patience import WAIT_S, wait_for


class Process:
    """A child process whose standard output is JSON lines."""

    def __init__(self, arguments: list[str], env: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as errors:
            self.child = subprocess.Popen(
                [sys.executable, *arguments], env=env, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self.lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self.lines.put(json.loads(line))

    def expect(self, **fields: object) -> dict[str, Any]:
        """Return the next line that has these fields; earlier ones are skipped."""
        deadline = time.monotonic() + WAIT_S
        seen = []
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"no line with {fields}; got {seen}; log:\n{self.log.read_text()[-3000:]}")
            if all(line.get(name) == value for name, value in fields.items()):
                return line
            seen.append(line)

    def kill(self) -> None:
        self.child.kill()
        self.child.wait(WAIT_S)

    def stop(self) -> int:
        """Ask it to stop, and return its exit code."""
        self.child.send_signal(signal.SIGTERM)
        code = self.child.wait(WAIT_S)
        self._reader.join(WAIT_S)
        assert self.child.stdout is not None
        self.child.stdout.close()
        return code


@dataclass
class Fleet:
    """Processes of one run."""

    folder: Path
    model: str
    settings: ServiceSettings
    producer: Producer
    env: dict[str, str]
    processes: list[Process] = field(default_factory=list)
    locals: list["Local"] = field(default_factory=list)

    def _start(self, name: str, arguments: list[str]) -> Process:
        process = Process(arguments, {**self.env, "HEADRACE_INSTANCE": name}, self.folder / f"{name}.log")
        self.processes.append(process)
        return process

    def coordinator(self, name: str = "coordinator", *flags: str) -> Process:
        return self._start(name, ["-m", "services.ckpt.coordinator", *flags])

    def agent(self, name: str = "agent", *flags: str) -> Process:
        return self._start(name, ["-m", "services.ckpt.agent", "--heartbeat-s", "0.5", *flags])

    def worker(self, name: str) -> Process:
        script = str(Path(__file__).with_name("worker.py"))
        return self._start(name, [script, str(agent_socket(self.settings)), self.model, name])

    def use_redis(self, url: str) -> None:
        """Let everything that starts from now on use another Redis."""
        self.settings = self.settings.model_copy(update={"redis_url": url})
        self.env["REDIS_URL"] = url

    def put(self, version: int, store: ChunkStore, *, weight: float | None = None, epoch: int = 1) -> Manifest:
        """Play the trainer up to the chunks: the network answers its version."""
        value = float(version) if weight is None else weight
        return publish_version(
            {"weight": torch.zeros(1, 4), "bias": torch.full((1,), value)},
            VersionFacts(
                model=self.model,
                version=version,
                base_version=version - 1,
                epoch=epoch,
                step=version * 100,
                offsets={"t": {0: version}},
                metrics={"loss": 1.0 / version},
            ),
            store=store,
        )

    def publish(self, version: int, *, weight: float | None = None, epoch: int = 1) -> Manifest:
        """Play the trainer: chunks, then the event."""
        store = open_store(self.settings)
        manifest = self.put(version, store, weight=weight, epoch=epoch)
        store.close()
        self.announce(manifest)
        return manifest

    def announce(self, manifest: Manifest) -> None:
        self.send(checkpoint_event(manifest))

    def send(self, event: CheckpointPublished) -> None:
        self._produce(CHECKPOINTS, event)

    def counts(self, workers: int) -> None:
        """Wait until the coordinator counts on so many workers: a version that comes earlier need not be proven."""
        gauge = re.compile(rf'^headrace_ckpt_fleet_workers{{model="{self.model}"}} (.*)$', re.MULTILINE)

        def counted() -> bool:
            (ops,) = find(self.folder, "coordinator", "ops")
            with urllib.request.urlopen(f"{ops}/metrics", timeout=WAIT_S) as answer:
                found = gauge.search(answer.read().decode())
            return found is not None and float(found[1]) == workers

        wait_for(counted)

    def operate(self, kind: "Operation.Kind.ValueType", version: int = 0) -> None:
        self._produce(
            OPERATIONS,
            Operation(id=os.urandom(8).hex(), model=self.model, kind=kind, version=version, requested_by="test"),
        )

    def alert(self, version: int) -> None:
        """Play the monitor: this version is at fault."""
        now = int(time.time() * 1e6)
        fields = {"name": "version_worse", "message": "far off", "firing": True, "at_us": now}
        self._produce(ALERTS, Alert(id="a", model=self.model, severity=Alert.CRITICAL, version=version, **fields))

    def _produce(self, topic: TopicSpec, message: CheckpointPublished | Operation | Alert) -> None:
        where = {"key": self.model.encode(), "partition": model_partition(self.model)}
        self.producer.produce(topic.name(), message.SerializeToString(), **where)
        self.producer.flush(WAIT_S)

    def local(self, name: str, **more: Any) -> "Local":
        """A worker in the test's own process: starts in no time, and survives what the test does to others."""
        worker = Local(self, name, **more)
        self.locals.append(worker)
        return worker

    def close(self) -> None:
        for worker in self.locals:
            worker.live.stop()
        for process in self.processes:
            if process.child.poll() is None:
                process.kill()
            if process.child.stdout is not None:
                process.child.stdout.close()
        remove_stale_pools()


def ask(fleet: Fleet, command: str) -> Any:
    """`headrace ckpt status | history`, as a program reads it."""
    options = [fleet.model, "--kafka", fleet.settings.kafka_bootstrap_servers, "--json"]
    answered = CliRunner().invoke(application(), ["ckpt", command, *options])
    assert answered.exit_code == 0, answered.output
    printed = re.search(
        r"^[\[{]", answered.stdout, re.MULTILINE
    )  # beside what other threads of the tests log meanwhile
    assert printed is not None, answered.stdout
    return json.JSONDecoder().raw_decode(answered.stdout[printed.start() :])[0]


class Local:
    """Live weights, with the versions that began to serve, and a thread that asks for answers all the time."""

    def __init__(self, fleet: Fleet, name: str, build: Callable[[], nn.Module] = lambda: nn.Linear(4, 1)) -> None:
        self.changes: queue.Queue[Bound] = queue.Queue()
        self.live = LiveWeights(
            agent_socket(fleet.settings), fleet.model, build, worker=name, role="test", on_change=self.changes.put
        )
        self.live.start()

    def expect(self, version: int) -> Bound:
        """Wait until a version serves; earlier ones are skipped."""
        while True:
            try:
                bound = self.changes.get(timeout=WAIT_S)
            except queue.Empty:
                pytest.fail(f"version {version} was never served, {self.live.version} is")
            if bound.version == version:
                return bound

    def seen(self) -> list[int]:
        """The versions that began to serve since the last one expected."""
        return [self.changes.get_nowait().version for _ in range(self.changes.qsize())]

    def answer(self) -> tuple[int, int]:
        """The version that answers, and its answer."""
        with self.live.lease() as bound, torch.inference_mode():
            return bound.version, int(bound.network(torch.ones(1, 4)))


class Applied:
    """What is reported about one model from now on."""

    def __init__(self, fleet: Fleet) -> None:
        self._model = fleet.model
        self._consumer = clients.consumer(fleet.settings, f"test-{fleet.model}")
        partition = TopicPartition(APPLIED.name(), model_partition(fleet.model))
        _, partition.offset = clients.patiently(  # the topic may be so new that it has no leader yet
            lambda: self._consumer.get_watermark_offsets(partition, timeout=WAIT_S), "where the reports end"
        )
        self._consumer.assign([partition])

    def expect(self, state: str, version: int) -> WeightsApplied:
        """Return the next report of this state and version."""
        deadline = time.monotonic() + WAIT_S
        seen = []
        while time.monotonic() < deadline:
            message = self._consumer.poll(0.2)
            if message is None or message.error() is not None:
                continue
            applied = WeightsApplied.FromString(message.value())
            if applied.model != self._model:
                continue
            if (WeightsApplied.State.Name(applied.state), applied.version) == (state, version):
                return applied
            seen.append((WeightsApplied.State.Name(applied.state), applied.version))
        pytest.fail(f"no {state} of version {version}; got {seen}")

    def close(self) -> None:
        self._consumer.close()


@pytest.fixture
def fleet(kafka: Any, redis_url: str, tmp_path: Path) -> Iterator[Fleet]:
    made = make_fleet(kafka, redis_url, tmp_path)
    yield made
    made.close()


def make_fleet(kafka: Any, redis_url: str, folder: Path) -> Fleet:
    settings = ServiceSettings(
        kafka_bootstrap_servers=kafka.bootstrap_servers,
        redis_url=redis_url,
        run_dir=folder,
        storage_dir=folder / "storage",
    )
    clients.ensure_topics(settings, system_topics())
    env = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "REDIS_URL": redis_url,
        "HEADRACE_RUN_DIR": str(folder),
        "HEADRACE_STORAGE_DIR": str(folder / "storage"),
        "OMP_NUM_THREADS": "1",
    }
    return Fleet(folder, kafka.unique("model"), settings, clients.producer(settings, **{"linger.ms": 0}), env)


@pytest.fixture
def applied(fleet: Fleet) -> Iterator[Applied]:
    made = Applied(fleet)
    yield made
    made.close()
