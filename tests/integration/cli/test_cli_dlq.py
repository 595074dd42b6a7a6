"""`headrace dlq` on a real broker: dead letters are listed, shown, and put back exactly once however a replay ends."""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from typer.testing import CliRunner

from headrace.cli.catalogue import application
from headrace.contracts import topics
from headrace.contracts.events_pb2 import DeadLetter, Header
from headrace.deadletters.letters import Letter
from headrace.deadletters.read import read_letters, replayed, topics_with_letters
from headrace.deadletters.replay import replay
from headrace.runtime import kafka as clients
from headrace.runtime.errors import DependencyError, FencedError
from headrace.runtime.settings import ServiceSettings
from tests.patience import WAIT_S
from tests.stream_kit import PipelineRun, wait_for

PARTITIONS = 3


class Dead:
    """A pipeline's topics, letters of records that are long gone, and what is on the source topic."""

    def __init__(self, kafka: Any) -> None:
        self.pipeline = kafka.unique("dead")
        self.settings = ServiceSettings(kafka_bootstrap_servers=kafka.bootstrap_servers).for_role("test")
        clients.ensure_topics(self.settings, topics.pipeline_topics(self.pipeline, PARTITIONS))
        self.events = topics.EVENTS.name(self.pipeline)
        self._observer = Consumer({
            "bootstrap.servers": kafka.bootstrap_servers, "group.id": f"{self.pipeline}.observer",
            "isolation.level": "read_uncommitted",
        })  # fmt: skip
        self._committed = Consumer({
            "bootstrap.servers": kafka.bootstrap_servers, "group.id": f"{self.pipeline}.observer",
            "isolation.level": "read_committed",
        })  # fmt: skip
        self._producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "enable.idempotence": True})

    def bury(self, numbers: range, *, phase: str = "decode", reason: str = "malformed", copies: int = 1) -> None:
        """A dead letter, or several, of every number; number n was at offset n of partition n mod 3."""
        for n in numbers:
            letter = DeadLetter(
                topic=self.events, partition=n % PARTITIONS, offset=n, timestamp_ms=1_700_000_000_000 + n,
                key=f"k{n}".encode(),
                value=f"{n}".encode() + b"\xff", headers=[Header(name="origin", value=b"test"), Header(name="empty")],
                phase=phase, reason=reason, error_type="ValueError", service="stream", model="toy", model_version=7,
                at_us=time.time_ns() // 1000,
            )  # fmt: skip
            for _ in range(copies):
                self._producer.produce(
                    topics.dead_letters(self.events), letter.SerializeToString(), letter.key, partition=letter.partition
                )
            self._producer.poll(0)
        assert self._producer.flush(WAIT_S) == 0

    def back(self) -> list[Any]:
        """Everything that readers of committed records see on the source topic."""
        reader = Consumer({
            "bootstrap.servers": self.settings.kafka_bootstrap_servers, "group.id": f"{self.pipeline}.reader",
            "isolation.level": "read_committed", "enable.partition.eof": True, "enable.auto.commit": False,
        })  # fmt: skip
        found, open_partitions = [], set(range(PARTITIONS))
        try:
            reader.assign([TopicPartition(self.events, p, 0) for p in range(PARTITIONS)])
            while open_partitions:
                for message in reader.consume(1000, 0.2):
                    if message.error() is None:
                        found.append(message)
                    else:
                        open_partitions.discard(message.partition())
        finally:
            reader.close()
        return found

    def numbers(self) -> Counter[int]:
        """How often each number is back."""
        return Counter(int(message.value()[:-1]) for message in self.back())

    def written(self) -> int:
        """The sum of the source topic's ends: records, open and aborted ones too, and transaction markers."""
        return self._ends(self._observer)

    def visible(self) -> int:
        """The same as readers of committed records see it: up to the first open transaction."""
        return self._ends(self._committed)

    def _ends(self, consumer: Consumer) -> int:
        return sum(consumer.get_watermark_offsets(TopicPartition(self.events, p))[1] for p in range(PARTITIONS))

    def run(self, *arguments: str, code: int = 0) -> str:
        """`headrace dlq ...`: what it prints."""
        result = CliRunner().invoke(application(), ["dlq", *arguments, *self.where])
        assert result.exit_code == code, result.output
        return result.output

    def close(self) -> None:
        self._observer.close()
        self._committed.close()

    @property
    def where(self) -> list[str]:
        return ["--kafka", self.settings.kafka_bootstrap_servers]

    def start_replay(self, *arguments: str) -> subprocess.Popen[bytes]:
        """`headrace dlq replay` as a process."""
        command = [sys.executable, "-m", "headrace", "dlq", "replay", self.events, "--yes", *arguments, *self.where]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ.copy())


@pytest.fixture
def dead(kafka: Any) -> Iterator[Dead]:
    made = Dead(kafka)
    yield made
    made.close()


def test_letters_are_listed_by_what_is_asked_for(dead: Dead) -> None:
    dead.bury(range(3))
    dead.bury(range(3, 5), phase="forward", reason="the output is [NaN]")
    shown = dead.run("list", dead.events)
    assert f"{dead.events}[2]@2" in shown
    assert "the output is [NaN]" in shown
    rows = [json.loads(line) for line in dead.run("list", dead.events, "--json").splitlines()]
    assert [(r["partition"], r["offset"], r["phase"], r["model_version"], r["size"]) for r in rows][-1] == (
        1,
        4,
        "forward",
        7,
        2,
    )
    assert len(dead.run("list", dead.events, "--json", "--phase", "forward").splitlines()) == 2
    assert len(dead.run("list", dead.events, "--json", "--reason", "MALFORMED").splitlines()) == 3
    assert "no dead letters" in dead.run("list", dead.events, "--since", "2100-01-01")
    assert "and 4 older ones" in dead.run("list", dead.events, "-n", "1")
    names = [topic.name(dead.pipeline) for topic in topics.PIPELINE_TOPICS if topic.dead_letters]
    assert topics_with_letters(dead.settings, dead.pipeline) == sorted(names)
    assert "no topic" in str(CliRunner().invoke(application(), ["dlq", "list", "nowhere", *dead.where]).output)


def test_a_letter_is_shown_with_its_bytes(dead: Dead) -> None:
    dead.bury(range(2))
    shown = dead.run("show", dead.events, "1:0")
    for expected in (
        f"{dead.events}[1]@1", "decode, stream", "toy version 7", "ValueError: malformed", "key        k1",
        "origin = test",
        "empty = none", "2 bytes", "31 ff",
    ):  # fmt: skip
        assert expected in shown
    assert "no dead letter" in dead.run("show", dead.events, "1:9", code=2)


def test_without_yes_nothing_is_done(dead: Dead) -> None:
    dead.bury(range(4))
    assert "4 to put back" in dead.run("replay", dead.events)
    assert dead.back() == []


def test_records_are_back_as_they_were_on_their_partition_and_a_second_replay_does_nothing(dead: Dead) -> None:
    dead.bury(range(9), copies=2)
    shown = dead.run("replay", dead.events, "--yes")
    assert "9 to put back" in shown
    assert "9 of a record that another letter is of too" in shown
    assert "18 put back already" in dead.run("replay", dead.events, "--yes")
    assert dead.numbers() == Counter(range(9))
    message = next(m for m in dead.back() if m.key() == b"k5")
    assert (message.partition(), message.value()) == (2, b"5\xff")
    assert message.headers() == [
        ("origin", b"test"), ("empty", None), ("headrace-replay-of", f"{dead.events}[2]@5".encode()),
        ("headrace-replay-letter", f"{dead.events}.dlq[2]@2".encode()), ("headrace-replay-attempt", b"1"),
        ("headrace-replay-timestamp-ms", b"1700000000005"),
    ]  # fmt: skip
    assert {json.loads(line)["replayed"] for line in dead.run("list", dead.events, "--json").splitlines()} == {True}


def test_what_a_filter_passed_over_is_put_back_later_and_nothing_twice(dead: Dead) -> None:
    dead.bury(range(10))
    dead.bury(range(10, 20), phase="forward")
    dead.run("replay", dead.events, "--phase", "forward", "--yes")
    assert dead.numbers() == Counter(range(10, 20))
    dead.run("replay", dead.events, "0:0", "--yes")
    assert dead.numbers() == Counter([0, *range(10, 20)])
    dead.bury(range(20, 22))
    assert "11 to put back, 11 put back already" in dead.run("replay", dead.events, "--yes")
    assert dead.numbers() == Counter(range(22))


def test_killed_replays_that_are_run_again_put_every_record_back_once(dead: Dead) -> None:
    count, seed = 3000, 7
    chance = random.Random(seed)
    dead.bury(range(count))
    killed = []
    for _ in range(4):
        begun = dead.written()
        process = dead.start_replay("--batch", "2")
        try:
            far = begun + chance.randrange(1, 400)
            done = lambda far=far: dead.written() >= far or process.poll() is not None  # noqa: B023, E731
            wait_for(done, WAIT_S, "no progress")
        finally:
            process.kill()
            process.communicate()
        killed.append(len(replayed(dead.settings, dead.events)))
    dead.run("replay", dead.events, "--yes")
    print(f"seed {seed}: replays were killed when so many of {count} were put back: {killed}")
    assert 0 < killed[0] < killed[1] < killed[2] < killed[3] < count
    assert dead.numbers() == Counter(range(count))


def test_a_second_replay_stops_the_first_and_together_they_put_every_record_back_once(dead: Dead) -> None:
    dead.bury(range(60))
    found = read_letters(dead.settings, dead.events).found

    def interrupted(done: int) -> None:
        if done == 20:
            dead.run("replay", dead.events, "--yes")

    with pytest.raises(FencedError):
        replay(dead.settings, dead.events, lambda _: found, by="first", batch=10, told=interrupted)
    assert dead.numbers() == Counter(range(60))


class Late:
    """A letter that fails the replay, once the records before it are on the broker."""

    def __init__(self, letter: Letter, dead: Dead, fail: Callable[[], Any]) -> None:
        self._letter, self._dead, self._fail = letter, dead, fail

    def __getattr__(self, name: str) -> Any:
        wait_for(self._dead.written, WAIT_S, "the records before it were not sent")
        return self._fail() if name == "body" else getattr(self._letter, name)


def interrupted() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("how", [DependencyError, KeyboardInterrupt])
def test_a_replay_that_fails_leaves_no_transaction_open_that_readers_wait_for(
    dead: Dead, how: type[BaseException]
) -> None:
    dead.bury(range(4))
    found: list[Any] = read_letters(dead.settings, dead.events).found
    too_large = DeadLetter(topic=dead.events, value=b"x" * 2_000_000)
    found[-1] = Late(found[-1], dead, interrupted if how is KeyboardInterrupt else lambda: too_large)
    with pytest.raises(how):
        replay(dead.settings, dead.events, lambda _: found, by="test")
    wait_for(lambda: dead.visible() == dead.written(), 5, "a transaction is open")  # by itself it would end after 10 s
    assert dead.numbers() == Counter()
    dead.run("replay", dead.events, "--yes")
    assert dead.numbers() == Counter(range(4))


def test_another_topics_open_transaction_hides_nothing_of_what_was_put_back(kafka: Any, dead: Dead) -> None:
    dead.bury(range(5))
    clients.ensure_topics(dead.settings, [topics.REPLAYS.topic()])
    other = clients.transactional_producer(dead.settings, kafka.unique("other"), **{"transaction.timeout.ms": 3000})
    other.begin_transaction()
    for partition in range(topics.SYSTEM_PARTITIONS):
        other.produce(topics.REPLAYS.name(), b"", b"other/0/0/0", partition)
    other.flush()
    dead.run("replay", dead.events, "--yes")
    assert "5 put back already" in dead.run("replay", dead.events, "--yes")
    assert dead.numbers() == Counter(range(5))
    with pytest.raises(KafkaException, match="fenced"):
        other.close()


def test_events_that_a_model_could_not_predict_are_predicted_once_it_is_repaired(kafka: Any, tmp_path: Any) -> None:
    with PipelineRun(kafka, tmp_path) as river:
        river.produce(range(100))
        for n in range(5):
            river.send(json.dumps({"key": f"k{n}", "n": -1}).encode(), f"k{n}", [("origin", b"test")])
        river.flush()
        assert river.worker().ready()
        assert len(river.read(100, 5).letters) == 5
        assert river.workers[0].stop() == 0
        model = tmp_path / "model.py"
        model.write_text(model.read_text().replace('raise ValueError("-1 cannot be predicted")', "pass"))
        where = ["--kafka", river.bootstrap]
        for _ in range(2):
            result = CliRunner().invoke(application(), ["dlq", "replay", river.events, "--yes", *where])
            assert result.exit_code == 0, result.output
        river.worker()
        outcome = river.read(105, 5)
        assert sorted(p.key for _, p in outcome.predictions if p.prediction == -2) == [f"k{n}" for n in range(5)]
        assert (len(outcome.predictions), len(outcome.letters)) == (105, 5), river.logs()
