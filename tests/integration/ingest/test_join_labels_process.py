"""The role `join` as processes, with defaults, corrections and a sample: each example once, whatever is killed."""

import json
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from headrace.model.pipeline import load_pipeline
from services.ingest.join.labels import Sampling
from tests.line_kit import read_all, running, write_toy
from tests.patience import WAIT_S

EVENTS, UNLABELLED_TO, EVERY_MS, PARTITIONS = 4000, 3000, 100, 4
LABELS = {
    "conflicting": "corrected",
    "corrected_weight": 3.0,
    "missing": {"default": {"y": -1.0}},
    "sampling": [{"when": {"y": 2.0}, "keep": 0.25}],
}


def has_label(n: int) -> bool:
    return n % 3 > 0 or n >= UNLABELLED_TO


def wanted() -> Counter[tuple[str, str, float]]:
    """Key, kind and importance of each example. The last events all have a label, so each default one is known."""
    found = Counter[tuple[str, str, float]]()
    for n in range(EVENTS):
        if not has_label(n):
            found[str(n), "default", 1.0] += 1
            continue
        y = 2.0 if n % 2 else 5.0
        if y != 2.0 or Sampling.is_kept(str(n), 0.25):
            found[str(n), "label", 4.0 if y == 2.0 else 1.0] += 1
        if n % 10 == 1:
            found[str(n), "corrected", 3.0] += 1
    return found


def test_killed_and_rescaled_they_emit_each_default_correction_and_kept_example_once(
    kafka: Any, tmp_path: Path
) -> None:
    name = kafka.unique("toy")
    pipeline = write_toy(tmp_path / "pipeline", name, partitions=PARTITIONS, window_s=10, labels=LABELS)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "enable.idempotence": True})
    start = round(time.time() * 1000) - EVENTS * EVERY_MS

    def send(first: int, last: int) -> None:
        for n in range(first, last):
            at, values = start + n * EVERY_MS, [("events", {"id": str(n), "x": 1.0})]
            if has_label(n):
                values += [("labels", {"id": str(n), "y": 2.0 if n % 2 else 5.0})] * (1 + (n % 7 == 0))
                values += [("labels", {"id": str(n), "y": 9.0})] * (n % 10 == 1)
            for stream, value in values:
                producer.produce(f"{name}.{stream}", json.dumps(value), str(n), partition=n % PARTITIONS, timestamp=at)
        assert producer.flush(WAIT_S) == 0

    where = (pipeline, tmp_path / "run", kafka.bootstrap_servers)
    flags = ("--session-timeout-s", "2")
    with running("join", "join-0", *where, *flags) as first:
        first.endpoints()
        send(0, 1500)
        with running("join", "join-1", *where, *flags) as second:
            second.endpoints()
            send(1500, 2500)
            first.stop(signal.SIGKILL)
            send(2500, EVENTS)
            second.endpoints()
            total = sum(wanted().values())
            examples = read_all(kafka.bootstrap_servers, f"{name}.examples", PARTITIONS, total)
            assert second.stop() == 0
    decode = load_pipeline(pipeline).example_decoder.decode
    found = [decode(m.value() or b"") for m in examples]
    assert Counter((e.key, e.kind, e.importance) for e in found) == wanted()
    assert all(e.label.y == {"default": -1.0, "corrected": 9.0}.get(e.kind, e.label.y) for e in found)
