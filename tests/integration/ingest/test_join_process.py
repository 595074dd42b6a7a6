"""The role `join` as a process: each labelled event once, whatever is killed."""

import json
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka import Producer

from headrace.contracts.events_pb2 import DeadLetter
from headrace.model.pipeline import load_pipeline
from tests.line_kit import read_all, running, write_toy
from tests.patience import WAIT_S

TRACE = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


class Feed:
    """Numbered events and labels, some twice, some not decodable, labels now and then before their events."""

    def __init__(self, kafka: Any, name: str) -> None:
        self._producer = Producer(
            {"bootstrap.servers": kafka.bootstrap_servers, "partitioner": "murmur2_random", "enable.idempotence": True}
        )
        self._name, self._random = name, random.Random(5)
        self.sent = self.bad = self.twice = 0

    def send(self, count: int) -> None:
        for _ in range(count):
            key = str(self.sent)
            self.sent += 1
            pair = [("events", {"id": key, "x": 1.0}), ("labels", {"id": key, "y": 2.0})]
            if self._random.random() < 0.3:
                pair.reverse()
            if self._random.random() < 0.1:
                pair.append(pair[self._random.randrange(2)])
                self.twice += 1
            for stream, value in pair:
                self._produce(stream, key, json.dumps(value))
            if self._random.random() < 0.02:
                self._produce("events", key, '{"id": 7}')
                self.bad += 1
        assert self._producer.flush(WAIT_S) == 0

    def _produce(self, stream: str, key: str, value: str) -> None:
        headers = [TRACE] if key == "7" and stream == "events" else []
        self._producer.produce(f"{self._name}.{stream}", value, key, headers=headers)


def test_killed_twice_it_emits_every_pair_once_and_every_bad_record_once(kafka: Any, tmp_path: Path) -> None:
    name = kafka.unique("toy")
    pipeline = write_toy(tmp_path / "pipeline", name)
    where = (pipeline, tmp_path / "run", kafka.bootstrap_servers)
    feed = Feed(kafka, name)
    for round_ in range(3):
        with running("join", "join-0", *where) as role:
            role.endpoints()
            feed.send(1500)
            if round_ < 2:
                # Some of what was just sent is joined and committed by now, some in an open transaction, some not read.
                role.stop(signal.SIGKILL)
                continue
            examples = read_all(kafka.bootstrap_servers, f"{name}.examples", 2, feed.sent)
            dead = read_all(kafka.bootstrap_servers, f"{name}.events.dlq", 2, feed.bad)
            assert role.stop() == 0
    assert Counter(m.key() for m in examples) == Counter(str(n).encode() for n in range(feed.sent))
    letters = [DeadLetter.FromString(m.value() or b"") for m in dead]
    assert len({(letter.partition, letter.offset) for letter in letters}) == len(letters) == feed.bad
    decoder = load_pipeline(pipeline).example_decoder
    found = [decoder.decode(m.value() or b"") for m in examples]
    assert all(
        e.key == e.event.id == e.label.id and e.event_source[0] == m.partition()
        for e, m in zip(found, examples, strict=True)
    )
    assert [m.headers() for m in examples if m.key() == b"7"] == [[TRACE]]


def test_clocks_that_are_wrong_cost_no_pair_and_are_counted(kafka: Any, tmp_path: Path) -> None:
    """Some records are 50 minutes ahead, a day behind or of 1970.

    The first of a partition has none to be compared with.
    """
    name = kafka.unique("toy")
    pipeline = write_toy(tmp_path / "pipeline", name, window_s=600)
    producer, now = Producer({"bootstrap.servers": kafka.bootstrap_servers}), round(time.time() * 1000)
    wrong = {0: 3_000_000, 1: 3_000_000, 40: 3_000_000, 50: -86_400_000, 51: 1 - now}
    for n in range(200):
        at = now + n + wrong.get(n, 0)
        for stream, value in (("events", {"id": f"{n}", "x": 1.0}), ("labels", {"id": f"{n}", "y": 2.0})):
            when = at if stream == "events" else now + n
            producer.produce(f"{name}.{stream}", json.dumps(value), f"{n}", partition=n % 2, timestamp=when)
    where = (pipeline, tmp_path / "run", kafka.bootstrap_servers)
    with running("join", "join-0", *where) as role:
        ops = role.endpoints().endpoints["ops"]
        assert producer.flush(WAIT_S) == 0
        examples = read_all(kafka.bootstrap_servers, f"{name}.examples", 2, 198)
        metrics = httpx.get(f"{ops}/metrics", timeout=WAIT_S).text
        assert role.stop() == 0
    assert Counter(m.key() for m in examples) == Counter(f"{n}".encode() for n in range(2, 200))
    counted = f'headrace_join_out_of_bounds_records_total{{pipeline="{name}",stream="events"}}'
    found = next(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith(counted))
    assert found >= 3
    assert "timestamp out of bounds" in role.log.read_text()


def test_two_joins_share_the_partitions_and_one_takes_over_what_the_other_leaves(kafka: Any, tmp_path: Path) -> None:
    name = kafka.unique("toy")
    pipeline = write_toy(tmp_path / "pipeline", name, partitions=4)
    where = (pipeline, tmp_path / "run", kafka.bootstrap_servers)
    feed = Feed(kafka, name)
    with (
        running("join", "join-0", *where, "--session-timeout-s", "2") as first,
        running("join", "join-1", *where, "--session-timeout-s", "2") as second,
    ):
        first.endpoints()
        feed.send(400)
        second.endpoints()
        feed.send(400)
        assert first.stop() == 0
        feed.send(400)
        examples = read_all(kafka.bootstrap_servers, f"{name}.examples", 4, feed.sent)
    assert Counter(m.key() for m in examples) == Counter(str(n).encode() for n in range(feed.sent))
