"""Producing: files are checked row by row, records go out when they are due, and nothing is lost unnoticed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model.source import BadRow, Source, Timed
from headrace.replay.files import epoch_seconds, read_files
from headrace.replay.pace import at_once, by_event_time, by_rate
from headrace.replay.producing import CHUNK, QUEUE, TICK_S, KafkaOutlet, Producing, looped, options_of
from headrace.replay.resuming import after, murmur2, partition_of
from headrace.runtime.errors import ConfigError, DataError, DependencyError


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


def producing(outlet: Any, clock: Clock, **settings: Any) -> Producing:
    return Producing(outlet, lambda value: value.trip_id, clock=clock, sleep=clock.sleep, **settings)


def read(path: Path, text: str | bytes, struct: type[Any] = Trip, time_field: str | None = None) -> list[Any]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_files(path, None, (struct, End), time_field))


# --- files ---


def test_csv_columns_may_come_in_any_order_and_may_be_more(tmp_path: Path) -> None:
    items = read(tmp_path / "e.csv", "seats,colour,trip_id,at\n2,red,a,5.5\n3,blue,b,6\n")
    assert [item.value for item in items] == [Trip("a", 5.5, 2), Trip("b", 6.0, 3)]


def test_an_empty_cell_is_none_or_the_default_and_else_stays(tmp_path: Path) -> None:
    items = read(tmp_path / "e.csv", "trip_id,at,seats,note,rain\n,1,2,,NA\nNA,1,2,x,0.5\n")
    assert [item.value for item in items] == [Trip("", 1.0, 2, "", None), Trip("NA", 1.0, 2, "x", 0.5)]


def test_bad_csv_rows_name_file_line_and_field(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    items = read(path, b"trip_id,at,seats\na,5,two\nb,6\nc,,1\n\nd\xff,7,1\ne,8,1\n")
    bad = [item for item in items if isinstance(item, BadRow)]
    assert [str(row) for row in bad] == [
        f"{path}:2: seats: Expected `int`, got `str`",
        f"{path}:3: 2 cells, the header names 3",
        f"{path}:4: at: Expected `float`, got `str`",
        f"{path}:6: not UTF-8",
    ]
    assert [item.value.trip_id for item in items if isinstance(item, Timed)] == ["e"]


def test_quoted_newlines_do_not_shift_the_line_numbers(tmp_path: Path) -> None:
    items = read(tmp_path / "e.csv", 'trip_id,at,seats\n"a\nb",1,1\nc,1,x\n')
    assert items[0].value.trip_id == "a\nb"
    assert items[1].line == 4


def test_bad_json_lines_name_file_line_and_field(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    items = read(
        path, b'{"trip_id":"a","at":1,"seats":"x"}\n\n{"trip_id":\n{"trip_id":"b","at":1,"seats":1}\n{"at":1}\n'
    )
    assert [(row.line, row.field) for row in items if isinstance(row, BadRow)] == [(1, "seats"), (3, ""), (5, "")]
    assert [item.value.trip_id for item in items if isinstance(item, Timed)] == ["b"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("e.csv", "trip_id,at\n", r"e\.csv:1: no column seats"),
        ("e.csv", "trip_id,at,seats,at\n", r"e\.csv:1: column at stands there twice"),
        ("e.csv", "", r"e\.csv:1: no column trip_id, at, seats"),
        ("e.txt", "", "unknown kind of file"),
    ],
)
def test_a_file_that_cannot_be_right_is_refused_at_once(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read(tmp_path / name, text)


def test_a_missing_file_and_a_missing_time_field_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_files(tmp_path / "none.csv", None, (Trip, End), None)
    with pytest.raises(ConfigError, match="--time-field when: Trip has no such field"):
        read(tmp_path / "e.csv", "trip_id,at,seats\n", time_field="when")


def test_two_files_are_merged_by_time(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("trip_id,at,seats\na,1,1\nb,3,1\nc,9,1\n")
    (tmp_path / "l.jsonl").write_text(
        '{"trip_id":"a","at":"1970-01-01T00:00:02Z","minutes":1}\n{"trip_id":"b","at":"4","minutes":1}\n'
        '{"trip_id":"b","at":"1970-01-01T00:00:05","minutes":1}\n'
    )
    items = list(read_files(tmp_path / "e.csv", tmp_path / "l.jsonl", (Trip, End), "at"))
    assert [(i.at, i.kind) for i in items if isinstance(i, Timed)] == [
        (1.0, "events"), (2.0, "labels"), (3.0, "events"), (4.0, "labels"), (9.0, "events"),
    ]  # fmt: skip
    assert [str(i).partition(":")[2] for i in items if isinstance(i, BadRow)] == [
        "3: at: not a time: 1970-01-01T00:00:05 names no time zone"
    ]


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_numbers_and_their_text_are_the_same_time(value: float) -> None:
    assert epoch_seconds(value) == epoch_seconds(repr(value)) == value


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
    records = [r for t in trips(100) for r in (t, Timed(t.at, "labels", End(t.value.trip_id, "", 1.0)))]  # type: ignore[attr-defined]
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
    records = [r for t in trips(10) for r in (t, Timed(t.at, "labels", End(t.value.trip_id, "", 1.0)))]  # type: ignore[attr-defined]
    counts = producing(outlet, Clock(), limit=4).run(records)
    assert (counts.events, counts.labels) == (4, 4)


def test_bad_rows_are_told_skipped_and_counted() -> None:
    told: list[BadRow] = []
    row = BadRow(Path("e.csv"), 3, "seats", "Expected `int`")
    counts = producing(MemoryOutlet(), Clock(), on_bad_row=told.append).run([trips(1)[0], row, *trips(2)[1:]])
    assert (counts.events, counts.skipped, told) == (2, 1, [row])


def test_strict_stops_at_the_first_bad_row() -> None:
    with pytest.raises(DataError, match=r"e\.csv:3: seats: Expected"):
        producing(MemoryOutlet(), Clock(), strict=True).run([BadRow(Path("e.csv"), 3, "seats", "Expected `int`")])


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


# --- sources ---


class Numbers(Source):
    options: ClassVar = {"seed": 1, "rate": 2.0, "wet": False, "city": "Turin"}

    def replay(self, **options: Any) -> Iterator[Timed]:
        return iter(trips(3))

    def sample(self, count: int) -> list[msgspec.Struct]:
        return []


def test_options_take_the_type_of_their_default() -> None:
    given = options_of(Numbers(), ["seed=7", "rate=3", "wet=true", "city=Rome"])
    assert given == {"seed": 7, "rate": 3.0, "wet": True, "city": "Rome"}


@pytest.mark.parametrize(
    ("text", "says"), [("speed=3", "takes no such option"), ("seed", "takes no such"), ("seed=x", "Expected `int`")]
)
def test_options_that_do_not_fit_are_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        options_of(Numbers(), [text])


def test_a_loop_goes_on_in_time_with_keys_that_stay_unique() -> None:
    records = list(islice(looped(Numbers().replay, "trip_id"), 8))
    assert [r.value.trip_id for r in records] == ["t0", "t1", "t2", "t0-1", "t1-1", "t2-1", "t0-2", "t1-2"]  # type: ignore[attr-defined]
    assert [r.at for r in records] == [1000.0 + i for i in range(8)]


def test_looping_nothing_ends() -> None:
    assert list(looped(lambda: iter(()), "trip_id")) == []


# --- going on ---


@pytest.mark.parametrize(
    ("data", "hashed"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536),
     (b"a-little-bit-longer-string", -1486304829), (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
     (b"abc", 479470107)],
)  # fmt: skip
def test_keys_hash_as_in_the_java_client(data: bytes, hashed: int) -> None:
    """Its own test vectors, as signed 32-bit numbers."""
    assert murmur2(data) == hashed % 2**32


@given(st.lists(st.integers(0, 99), min_size=1), st.integers(1, 5), st.data())
def test_a_replay_goes_on_without_loss_or_repetition(keys: list[int], partitions: int, data: st.DataObject) -> None:
    """Whatever first part of each partition was there: what was there and what follows is everything, in order."""
    records = [Timed(float(i), "labels" if i % 3 else "events", Trip(f"k{key}", 0.0, 1)) for i, key in enumerate(keys)]

    def where(record: Timed) -> tuple[str, int]:
        return record.kind, partition_of(record.value.trip_id.encode(), partitions)  # type: ignore[attr-defined]

    full = {(k, p): [r for r in records if where(r) == (k, p)] for k in ("events", "labels") for p in range(partitions)}
    there = {place: data.draw(st.integers(0, len(content))) for place, content in full.items()}
    counts = {kind: [there[kind, p] for p in range(partitions)] for kind in ("events", "labels")}
    rest = list(after(records, lambda value: value.trip_id, counts))
    for place, content in full.items():
        assert content[: there[place]] + [r for r in rest if isinstance(r, Timed) and where(r) == place] == content
