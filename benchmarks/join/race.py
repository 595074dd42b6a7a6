"""The join and the bare loop, each as a process that reads the same backlog of events and labels."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import httpx
import yaml
from confluent_kafka import Consumer, TopicPartition

from benchmarks.join.records import event, key_of, label
from headrace.contracts.topics import EVENTS, EXAMPLES, LABELS, pipeline_topics
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings
from services.ingest.join.kafka import group_of

PIPELINE, PARTITIONS, CHUNK = "joinbench", 4, 50_000
WAIT_S = 300.0
STARTED = 0.1
"""Share of the backlog after which the clock starts: imports and the first fetches are not the race."""

MODEL = """
import msgspec, torch
from headrace import Model

class Event(msgspec.Struct):
    id: str
    zone: int
    hour: int
    distance_km: float
    passengers: int
    rate: float

class Label(msgspec.Struct):
    id: str
    minutes: float

class Ride(Model[Event, Label]):
    key = "id"
    def network(self): return torch.nn.Linear(1, 1)
    def features(self, events): return torch.tensor([[e.distance_km] for e in events])
    def loss(self, outputs, labels): return outputs.sum()
    def predictions(self, outputs) -> list[float]: return outputs[:, 0].tolist()
    def error(self, prediction, label): return abs(prediction - label.minutes)
"""


class Result(NamedTuple):
    """Pairs a second by the clock and by the process's processor time, and its peak of resident memory in MiB."""

    per_s: float
    per_cpu_s: float
    peak_mib: float


def fill(settings: ServiceSettings, pairs: int) -> None:
    """Produce so many events and labels, the label after its event, the same number to every partition."""
    kafka.ensure_topics(settings, pipeline_topics(PIPELINE, PARTITIONS))
    producer = kafka.producer(settings, **{"queue.buffering.max.messages": 2_000_000})
    share = pairs // PARTITIONS
    for start in range(0, share, CHUNK):
        for partition in range(PARTITIONS):
            numbers = [n * PARTITIONS + partition for n in range(start, min(share, start + CHUNK))]
            for topic, make in ((EVENTS, event), (LABELS, label)):
                records = [{"value": make(n), "key": key_of(n).encode()} for n in numbers]
                producer.produce_batch(topic.name(PIPELINE), records, partition=partition)
        while len(producer) > 500_000:
            producer.poll(0.05)
    producer.flush()


def ours(settings: ServiceSettings, pairs: int, folder: Path, flags: Sequence[str] = ()) -> Result:
    """The role `join`, as `headrace run join` starts it; its group reads the backlog from the beginning."""
    pipeline = folder / PIPELINE
    pipeline.mkdir(parents=True)
    (pipeline / "model.py").write_text(MODEL)
    spec = {"name": PIPELINE, "model": "model.py:Ride", "topics": {"partitions": PARTITIONS}, "join": {"window_s": 600}}
    (pipeline / "pipeline.yaml").write_text(yaml.safe_dump(spec))
    return _race(settings, [*_role(settings, folder), *flags], group_of(PIPELINE), pairs)


def recovery(settings: ServiceSettings, folder: Path) -> float:
    """Seconds from a start of the role, after `ours` in this folder, until its state is rebuilt: imports included."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, *_role(settings, folder), "--ops-port", str(port)]
    began, process = time.perf_counter(), subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while not _is_ready(port):
            if process.poll() is not None or time.perf_counter() > began + WAIT_S:
                raise TimeoutError(f"not ready, exit code {process.poll()}")
            time.sleep(0.02)
        return time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(30)


def _role(settings: ServiceSettings, folder: Path) -> list[str]:
    command = ["-m", "services.ingest.join", "--pipeline", str(folder / PIPELINE), "--run-dir", str(folder)]
    return [*command, "--instance", "join-0", "--kafka-bootstrap-servers", settings.kafka_bootstrap_servers]


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def bare(settings: ServiceSettings, pairs: int, n: int) -> Result:
    """The bare loop in a group of its own."""
    group, topics = f"bare-{n}", [topic.name(PIPELINE) for topic in (EVENTS, LABELS, EXAMPLES)]
    command = ["-m", "benchmarks.join.bare", settings.kafka_bootstrap_servers, group, *topics]
    return _race(settings, command, group, pairs)


def forget_group(settings: ServiceSettings) -> None:
    """Let the join begin at the backlog's beginning again."""
    deadline, client = time.monotonic() + WAIT_S, kafka.admin(settings)
    while True:
        (future,) = client.delete_consumer_groups([group_of(PIPELINE)]).values()
        if future.exception() is None or time.monotonic() > deadline:
            future.result()
            return
        time.sleep(0.2)


def _race(settings: ServiceSettings, command: Sequence[str], group: str, pairs: int) -> Result:
    reader = kafka.consumer(settings, group)
    before = _written(reader)
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
    try:
        first, began, cpu = _wait(reader, process, before + STARTED * pairs)
        last, ended, used = _wait(reader, process, before + pairs)
        peak = next(line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "VmHWM" in line)
        _check(reader, pairs)
    finally:
        process.terminate()
        process.wait(30)
        reader.close()
    return Result((last - first) / (ended - began), (last - first) / (used - cpu), int(peak.split()[1]) / 1024)


def _wait(reader: Consumer, process: subprocess.Popen[bytes], records: float) -> tuple[int, float, float]:
    """How many records the examples have once there are so many; the clocks just after that was asked.

    Not by the group's committed offsets: while a transaction is open, which is nearly always, the broker does not tell
    them, and the client asks again later.
    """
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and process.poll() is None:
        written = _written(reader)
        if written >= records:
            return written, time.perf_counter(), _cpu(process.pid)
        time.sleep(0.005)
    raise TimeoutError(f"not through the backlog, exit code {process.poll()}")


def _written(reader: Consumer) -> int:
    """Where the examples end for a reader of committed records: their number, and one for each transaction's end."""
    wanted = [TopicPartition(EXAMPLES.name(PIPELINE), p) for p in range(PARTITIONS)]
    return sum(kafka.patiently(partial(reader.get_watermark_offsets, where, timeout=15), "reading ends")[1]
               for where in wanted)  # fmt: skip


def _check(reader: Consumer, pairs: int) -> None:
    """Wait until the group has committed all events and all labels."""
    wanted = [TopicPartition(topic.name(PIPELINE), p) for topic in (EVENTS, LABELS) for p in range(PARTITIONS)]
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        committed = kafka.patiently(partial(reader.committed, wanted, timeout=15), "reading the group's offsets")
        if sum(max(0, found.offset) for found in committed) >= 2 * pairs:
            return
        time.sleep(0.05)
    raise TimeoutError("not all offsets were committed")


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
