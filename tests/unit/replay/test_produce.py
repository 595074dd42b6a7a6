"""Producing: records go out when they are due, and nothing is lost unnoticed."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from headrace.model.source import BadRow, Timed
from headrace.replay.pace import at_once, by_event_time, by_rate
from headrace.replay.producing import CHUNK, QUEUE, TICK_S, KafkaOutlet, Producing
from headrace.runtime.errors import DataError, DependencyError


class Trip(msgspec.Struct):
    trip_id: str
    at: float
    seats: int
    note: str = "none"
    rain: float | None = None


class End(msgspec.Struct):
    trip_id: str
    at: str
    minutes: float


class MemoryOutlet:
    """What was sent, and when."""

    def __init__(self, clock: Any = lambda: 0.0) -> None:
        self.sent: list[tuple[float, str, str]] = []
        self.closed = False
        self._clock = clock

    def send(self, kind: str, records: list[tuple[bytes, bytes]]) -> None:
        assert not self.closed
        self.sent += [(self._clock(), kind, key.decode()) for key, _ in records]

    def close(self) -> None:
        self.closed = True


@dataclass
class Clock:
    """Time passes only while sleeping, and as `work` says with every look at it."""

    now: float = 100.0
    work: float = 0.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        self.now += self.work
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def trips(count: int, step: float = 1.0) -> list[Timed]:
    return [Timed(1000 + i * step, "events", Trip(f"t{i}", 1000 + i * step, 1)) for i in range(count)]


def labelled(count: int) -> list[Timed]:
    """Trips, each with its label at the same time."""
    return [record for trip in trips(count) for record in (trip, Timed(trip.at, "labels", label(trip.value)))]


def label(trip: Any) -> End:
    return End(trip.trip_id, "", 1.0)


def producing(outlet: Any, clock: Clock, **settings: Any) -> Producing:
    return Producing(outlet, lambda value: value.trip_id, clock=clock, sleep=clock.sleep, **settings)


# --- pace ---


def test_event_time_is_paced_from_one_start_without_drift() -> None:
    """However long sending takes, the due times stay where they are."""
    clock = Clock(work=0.0007)
    outlet = MemoryOutlet(lambda: clock.now)
    producing(outlet, clock, pace=by_event_time(10.0)).run(trips(200, step=2.0))
    late = [at - 100.0 - i * 0.2 for i, (at, _, _) in enumerate(outlet.sent)]
    assert all(-1e-9 <= x < 2 * TICK_S for x in late)


def test_a_rate_counts_events_and_takes_labels_along() -> None:
    clock = Clock()
    outlet = MemoryOutlet(lambda: clock.now)
    records = labelled(100)
    counts = producing(outlet, clock, pace=by_rate(50.0)).run(records)
    assert (counts.events, counts.labels) == (100, 100)
    assert 1.98 <= clock.now - 100 <= 1.98 + 2 * TICK_S
    by_key = {key: at for at, kind, key in outlet.sent if kind == "events"}
    assert all(at >= by_key[key] for at, kind, key in outlet.sent if kind == "labels")


def test_at_high_rates_the_process_wakes_once_a_tick() -> None:
    clock = Clock()
    producing(MemoryOutlet(), clock, pace=by_rate(100_000.0)).run(trips(50_000))
    assert 0.45 <= clock.now - 100 <= 0.55
    assert len(clock.slept) <= 0.55 / TICK_S


def test_falling_behind_is_counted() -> None:
    clock = Clock(work=0.4)
    counts = producing(MemoryOutlet(), clock, pace=by_rate(10_000.0)).run(trips(4 * CHUNK))
    assert counts.behind_s > 0.4


def test_at_once_never_sleeps_and_keeps_the_order() -> None:
    clock = Clock()
    outlet = MemoryOutlet()
    counts = producing(outlet, clock, pace=at_once).run(trips(3 * CHUNK + 5))
    assert counts.events == 3 * CHUNK + 5
    assert [key for _, _, key in outlet.sent] == [f"t{i}" for i in range(3 * CHUNK + 5)]
    assert not clock.slept
    assert outlet.closed


# --- limits, bad rows, stopping ---


def test_the_limit_counts_events() -> None:
    outlet = MemoryOutlet()
    records = labelled(10)
    counts = producing(outlet, Clock(), limit=4).run(records)
    assert (counts.events, counts.labels) == (4, 4)


def test_bad_rows_are_told_skipped_and_counted() -> None:
    told: list[BadRow] = []
    row = BadRow("e.csv:3", "seats", "Expected `int`")
    counts = producing(MemoryOutlet(), Clock(), on_bad_row=told.append).run([trips(1)[0], row, *trips(2)[1:]])
    assert (counts.events, counts.skipped, told) == (2, 1, [row])


def test_strict_stops_at_the_first_bad_row() -> None:
    with pytest.raises(DataError, match=r"e\.csv:3: seats: Expected"):
        producing(MemoryOutlet(), Clock(), strict=True).run([BadRow("e.csv:3", "seats", "Expected `int`")])


def test_a_stop_ends_the_wait_and_what_was_taken_is_flushed() -> None:
    clock, outlet = Clock(), MemoryOutlet()
    work = producing(outlet, clock, pace=by_event_time(1.0))

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        work.stopped = clock.now > 105

    work.sleep = sleep
    counts = work.run(trips(3600))
    assert 4 <= counts.events <= 6
    assert outlet.closed
    assert clock.now < 106


# --- Kafka's client, by a twin of it ---


class TwinProducer:
    """Delivers what is queued when polled; `failing` keys fail, `stuck` records stay, `refusing` ones are not taken."""

    def __init__(self, failing: tuple[bytes, ...] = (), stuck: int = 0, refusing: int = 0) -> None:
        self.failing, self.stuck, self.refusing = failing, stuck, refusing
        self.queue: list[Any] = []
        self.longest = 0
        self.delivered: list[bytes] = []

    def __len__(self) -> int:
        return len(self.queue)

    def produce_batch(self, topic: str, messages: list[dict[str, Any]], on_delivery: Any) -> int:
        taken = messages[: len(messages) - self.refusing]
        self.queue += [(topic, message, on_delivery) for message in taken]
        self.longest = max(self.longest, len(self.queue))
        for message in messages[len(taken) :]:
            message["_error"] = "Message size too large"
        return len(taken)

    def poll(self, timeout: float) -> int:
        if timeout:
            self._deliver()
        return 0

    def _deliver(self) -> None:
        for topic, message, on_delivery in self.queue:
            if message["key"] in self.failing:
                on_delivery(TwinError(), TwinMessage(topic))
            else:
                self.delivered.append(message["key"])
        self.queue = []

    def flush(self, timeout: float) -> int:
        self._deliver()
        return self.stuck


class TwinError:
    def str(self) -> Any:  # librdkafka's name
        return "timed out"

    def name(self) -> Any:
        return "_MSG_TIMED_OUT"


@dataclass
class TwinMessage:
    name: str

    def topic(self) -> str:
        return self.name

    def partition(self) -> int:
        return 2


TOPICS = {"events": "x.events", "labels": "x.labels"}


def pairs(count: int) -> list[tuple[bytes, bytes]]:
    return [(b"k%d" % i, b"v") for i in range(count)]


def test_a_long_queue_is_waited_for_and_order_kept() -> None:
    twin = TwinProducer()
    outlet = KafkaOutlet(twin, TOPICS)
    for _ in range(60):
        outlet.send("events", pairs(CHUNK))
    outlet.close()
    assert twin.delivered == [key for _ in range(60) for key, _ in pairs(CHUNK)]
    assert twin.longest <= QUEUE + CHUNK


def test_a_record_that_was_not_delivered_is_an_error_that_says_where() -> None:
    outlet = KafkaOutlet(TwinProducer(failing=(b"k3",)), TOPICS)
    outlet.send("events", pairs(5))
    with pytest.raises(DependencyError, match=r"x\.events\[2\]: timed out"):
        outlet.close()


def test_a_record_that_the_client_refuses_is_an_error() -> None:
    with pytest.raises(DependencyError, match=r"x\.labels: 2 records were refused: Message size too large"):
        KafkaOutlet(TwinProducer(refusing=2), TOPICS).send("labels", pairs(5))


def test_records_left_after_the_flush_are_an_error() -> None:
    outlet = KafkaOutlet(TwinProducer(stuck=3), TOPICS)
    outlet.send("events", pairs(5))
    with pytest.raises(DependencyError, match="3 of 5 records were not acknowledged"):
        outlet.close()
