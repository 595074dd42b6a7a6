"""The role `join` with far less memory than its window takes: each pair once, whatever is killed."""

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka import Producer

from tests.line_kit import read_all, running, write_toy
from tests.patience import WAIT_S

COUNT = 8000


def test_events_on_disk_meet_their_labels_once_after_a_kill_too(kafka: Any, tmp_path: Path) -> None:
    name = kafka.unique("toy")
    pipeline = write_toy(tmp_path / "pipeline", name, window_s=600)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "enable.idempotence": True})

    def send(stream: str, field: str, first: int, last: int) -> None:
        for n in range(first, last):
            producer.produce(f"{name}.{stream}", json.dumps({"id": str(n), field: 1.0}), str(n), partition=n % 2)
        assert producer.flush(WAIT_S) == 0

    where = (pipeline, tmp_path / "run", kafka.bootstrap_servers, "--max-state-bytes", str(1 << 20))
    with running("join", "join-0", *where) as role:
        role.endpoints()
        send("events", "x", 0, COUNT)
        send("labels", "y", 0, COUNT // 4)
        read_all(kafka.bootstrap_servers, f"{name}.examples", 2, COUNT // 4)
        role.stop(signal.SIGKILL)
    with running("join", "join-0", *where) as role:
        ops = role.endpoints().endpoints["ops"]
        send("labels", "y", COUNT // 4, COUNT)
        examples = read_all(kafka.bootstrap_servers, f"{name}.examples", 2, COUNT)
        lines = httpx.get(f"{ops}/metrics", timeout=WAIT_S).text.splitlines()
        assert role.stop() == 0
    assert Counter(m.key() for m in examples) == Counter(str(n).encode() for n in range(COUNT))
    figures = {line.split("{")[0]: float(line.split()[-1]) for line in lines if line.startswith("headrace_join_")}
    assert figures["headrace_join_spilled_bytes"] > 0
    assert figures.get("headrace_join_evicted_records_total", 0) == 0
    assert figures.get("headrace_join_forgotten_keys_total", 0) == 0
