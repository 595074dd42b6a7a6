"""The join's loop over logs and transactions in memory: what is committed together, and what an abort leaves."""

from dataclasses import dataclass, field

import msgspec

from headrace.contracts.events_pb2 import DeadLetter
from headrace.contracts.records import example_decoder
from headrace.streams.chunks import Headers, Partition
from headrace.streams.delivery import AbortedError, Output
from headrace.streams.membership import Member
from headrace.streams.memory import MemoryRecord
from services.ingest.join.examples import kept
from services.ingest.join.loop import Joiner
from services.ingest.join.ports import Names, Polled
from services.ingest.join.service import EVENTS, LABELS, Record, Records, Resume, Rules
from services.ingest.join.state.records import Origin

NAMES = Names.of("toy")
T0 = 1_800_000_000_000
RULES = Rules(100, kept=kept)


class Event(msgspec.Struct):
    id: str
    x: float


class Label(msgspec.Struct):
    id: str
    y: float


def key_of(kind: type[msgspec.Struct]):
    return lambda value: msgspec.json.decode(value, type=kind).id


@dataclass
class MemorySink:
    """Commits outputs, or aborts as many as it is told to."""

    aborts: int = 0
    outputs: list[Output] = field(default_factory=list)
    commits_offsets = True

    def open(self) -> None: ...
    def close(self) -> None: ...

    def deliver(self, output: Output, member: Member) -> None:
        if self.aborts:
            self.aborts -= 1
            raise AbortedError("told to")
        self.outputs.append(output)

    @property
    def values(self) -> list[bytes]:
        found = [r["value"] for o in self.outputs for b in o.batches for r in b.records]
        return found + [s.value for o in self.outputs for s in o.singles if s.topic == NAMES.examples and s.value]

    @property
    def dead(self) -> list[DeadLetter]:
        return [
            DeadLetter.FromString(s.value or b"") for o in self.outputs for s in o.singles if s.topic.endswith(".dlq")
        ]

    def committed(self, side: int, partition: int = 0) -> Resume:
        where = Partition(NAMES.topics[side], partition)
        for output in reversed(self.outputs):
            if where in output.offsets:
                return Resume(output.offsets[where], output.metadata[where])
        return Resume(0)


class MemoryLogs:
    """Both logs of one partition; assignment goes as Kafka's would."""

    def __init__(self, joiner: Joiner, sink: MemorySink, events: list[Record], labels: list[Record]) -> None:
        self._joiner, self._sink, self._logs = joiner, sink, (list(events), list(labels))
        self.next = [0, 0]
        self.paused: dict[int, bool] = {}
        self.starts: list[tuple[int, int]] = []
        self.ends: list[int | None] = [len(events), len(labels)]

    def assign(self) -> None:
        begins = self._joiner.assigned(0, *(self._sink.committed(side) for side in (EVENTS, LABELS)))
        self.next = list(begins)
        for side in (EVENTS, LABELS):
            self._joiner.started(0, side, self.next[side])
        self.starts.append(begins)

    def append(self, side: int, records: list[Record]) -> None:
        self._logs[side].extend(records)
        self.ends[side] = len(self._logs[side])

    def poll(self) -> Polled:
        polled = Polled()
        for side in (EVENTS, LABELS):
            if not self.paused.get(side) and (records := self._logs[side][self.next[side] :]):
                polled.records[side, 0] = Records.of(records)
                self.next[side] += len(records)
            polled.ends[side, 0] = self.next[side]
        return polled

    def pause(self, side: int, partition: int, *, paused: bool) -> None:
        self.paused[side] = paused

    def behind(self, side: int, partition: int, position: int) -> int:
        return len(self._logs[side]) - position

    def end(self, side: int, partition: int) -> int | None:
        return self.ends[side]

    def rejoin(self) -> None:
        self._joiner.revoked()
        self.assign()

    def member(self) -> Member:
        return Member(1, b"member")


def record(side: int, offset: int, timestamp_ms: int, value: object, headers: Headers | None = None) -> Record:
    data = value if isinstance(value, bytes) else msgspec.json.encode(value)
    message = MemoryRecord(data, b"k%d" % offset, NAMES.topics[side], 0, offset, T0 + timestamp_ms, headers)
    return Record(offset, T0 + timestamp_ms, data, message)


def world(
    events: list[Record], labels: list[Record], aborts: int = 0, rules: Rules = RULES, **options: int
) -> tuple[Joiner, MemoryLogs, MemorySink]:
    sink = MemorySink(aborts)
    joiner = Joiner(NAMES, rules, key_of(Event), key_of(Label), sink, **options)
    logs = MemoryLogs(joiner, sink, events, labels)
    logs.assign()
    return joiner, logs, sink


TWO_EVENTS = [record(EVENTS, n, 10 + n, {"id": f"é{n}", "x": 1.5}) for n in range(2)]
TWO_LABELS = [record(LABELS, n, 20 + n, {"id": f"é{n}", "y": 2.5}) for n in range(2)]


def test_an_example_says_what_it_was_made_of_and_decodes_as_the_contract_says() -> None:
    joiner, logs, sink = world(TWO_EVENTS, TWO_LABELS)
    joiner.step(logs)
    example = example_decoder(Event, Label).decode(sink.values[1])
    assert (example.key, example.event, example.label) == ("é1", Event("é1", 1.5), Label("é1", 2.5))
    assert (example.event_source, example.label_source) == ((0, 1), (0, 1))
    assert (example.event_ms, example.label_ms) == (T0 + 11, T0 + 21)


def test_examples_dead_letters_and_both_offsets_go_in_one_transaction() -> None:
    joiner, logs, sink = world([*TWO_EVENTS, record(EVENTS, 2, 30, b"no json")], TWO_LABELS)
    joiner.step(logs)
    (output,) = sink.outputs
    assert len(sink.values) == 2
    assert [(d.topic, d.offset, d.value, d.phase) for d in sink.dead] == [("toy.events", 2, b"no json", "decode")]
    assert output.offsets == {Partition("toy.events", 0): 3, Partition("toy.labels", 0): 2}
    assert [Resume(0, state).begin for state in output.metadata.values()] == [0, 0]


def test_a_trace_context_travels_from_the_event_to_its_example() -> None:
    traced = record(EVENTS, 0, 10, {"id": "é0", "x": 1}, [("traceparent", b"00-1"), ("other", b"x")])
    joiner, logs, sink = world([traced], TWO_LABELS)
    joiner.step(logs)
    (single,) = sink.outputs[0].singles
    assert (list(single.headers), single.partition) == ([("traceparent", b"00-1")], 0)


def test_after_an_aborted_transaction_it_begins_again_and_emits_everything_once() -> None:
    joiner, logs, sink = world(TWO_EVENTS, TWO_LABELS, aborts=2)
    for _ in range(5):
        joiner.step(logs)
    assert [msgspec.json.decode(v)["key"] for v in sink.values] == ["é0", "é1"]
    assert len(logs.starts) == 3


def test_a_partition_that_comes_back_unchanged_goes_on_without_reading_anything_again() -> None:
    joiner, logs, sink = world(TWO_EVENTS, TWO_LABELS[:1])
    joiner.step(logs)
    logs.rejoin()
    assert logs.starts[-1] == (2, 1)
    logs.append(LABELS, TWO_LABELS[1:])
    joiner.step(logs)
    assert len(sink.values) == 2


def test_a_partition_that_somebody_else_has_joined_meanwhile_is_rebuilt() -> None:
    joiner, logs, sink = world(TWO_EVENTS, TWO_LABELS[:1])
    joiner.step(logs)
    states = sink.outputs[-1].metadata
    sink.outputs.append(Output(1, {Partition("toy.events", 0): 2, Partition("toy.labels", 0): 2}, metadata=states))
    logs.rejoin()
    assert logs.starts[-1] == (0, 0)
    logs.append(LABELS, TWO_LABELS[1:])
    joiner.step(logs)
    assert len(sink.values) == 1
    assert joiner.joins[0].resume(LABELS).offset == 2


def test_an_open_event_keeps_its_kafka_key_and_trace_context_and_not_its_message() -> None:
    traced = record(EVENTS, 0, 10, {"id": "é0", "x": 1}, [("traceparent", b"00-1"), ("other", b"x" * 10_000)])
    joiner, logs, sink = world([traced], [])
    joiner.step(logs)
    logs.append(LABELS, TWO_LABELS)
    joiner.step(logs)
    (single,) = sink.outputs[-1].singles
    assert (single.key, list(single.headers)) == (b"k0", [("traceparent", b"00-1")])
    assert kept(traced.message, "another key") == Origin(b"k0", (("traceparent", b"00-1"),))
    assert kept(MemoryRecord(b"", b"k", "t", 0, 0, 0, None), "k") is None


def long_log(side: int, count: int, start: int = 0, every_ms: int = 1) -> list[Record]:
    number = {EVENTS: "x", LABELS: "y"}[side]
    return [record(side, n, n * every_ms, {"id": f"{n}", number: 1.0}) for n in range(start, start + count)]


def test_a_log_without_records_does_not_hold_back_the_other_once_the_broker_says_that_it_has_ended() -> None:
    joiner, logs, _ = world(long_log(EVENTS, 6000), [])
    logs.ends[LABELS] = None
    joiner.step(logs)
    assert joiner.joins[0].waiting(EVENTS) == 6000
    logs.ends[LABELS] = 7
    joiner.step(logs)
    assert joiner.joins[0].waiting(EVENTS) == 6000
    logs.ends[LABELS] = 0
    joiner.step(logs)
    assert joiner.joins[0].waiting(EVENTS) < 3000
    label = {"id": "5999", "y": 1.0}
    logs.append(LABELS, [record(LABELS, 0, 6050, label)])
    joiner.step(logs)
    assert joiner.joins[0].counts.matched == 0  # counted and reset by the commit
    assert joiner.joins[0].waiting(LABELS) == 0


def test_a_log_at_its_end_is_idle_only_after_a_while_without_records() -> None:
    joiner, logs, _ = world(long_log(EVENTS, 6000), long_log(LABELS, 1), idle_s=3600)
    joiner.step(logs)
    assert joiner.joins[0].waiting(EVENTS) == 5999
    joiner._idle_s = 0
    joiner.step(logs)
    assert joiner.joins[0].waiting(EVENTS) < 3000


def test_a_record_out_of_bounds_becomes_a_dead_letter_where_it_found_no_other_half() -> None:
    rules = Rules(100, out_of_bounds="dead_letter", kept=kept)
    events = long_log(EVENTS, 6000)
    for n in (10, 20):
        events[n] = record(EVENTS, n, n - 3_000_000, {"id": f"{n}", "x": 1.0}, [("h", b"1")])
    joiner, logs, sink = world(events, [record(LABELS, 0, 20, {"id": "20", "y": 1.0})], rules=rules)
    logs.ends[LABELS] = None
    joiner.step(logs)
    assert sink.dead == []
    logs.append(LABELS, long_log(LABELS, 6000, start=30)[:5000])
    joiner.step(logs)
    assert [(d.offset, d.phase, d.error_type, d.headers[0].value) for d in sink.dead] == [
        (10, "join", "OutOfBoundsError", b"1")
    ]
    assert "out of bounds" in sink.dead[0].reason
    assert [msgspec.json.decode(v)["key"] for v in sink.values].count("20") == 1


def test_a_side_that_fills_the_memory_is_not_read_on_while_the_other_has_records_to_be_read() -> None:
    joiner, logs, _ = world(long_log(EVENTS, 3000), [], max_bytes=2_000_000)
    logs.ends[LABELS] = None
    joiner.step(logs)
    assert joiner.joins[0].bytes_held(EVENTS) > 1_000_000
    assert not logs.paused[EVENTS]
    logs.append(LABELS, long_log(LABELS, 3000))
    joiner._hold(logs)
    assert (logs.paused[EVENTS], logs.paused[LABELS]) == (True, False)
    joiner.step(logs)
    assert not logs.paused[EVENTS]
