"""The join's loop over logs and transactions in memory: what is committed together, and what an aborted transaction leaves."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from headrace.contracts.events_pb2 import DeadLetter
from headrace.contracts.records import example_decoder
from headrace.streams.chunks import Headers, Partition
from headrace.streams.delivery import AbortedError, Output
from headrace.streams.membership import Member
from headrace.streams.memory import MemoryRecord
from services.ingest.join.loop import Joiner, Names, Polled
from services.ingest.join.service import EVENTS, LABELS, NEVER, Record, Resume

NAMES = Names.of("toy")


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
                return Resume(output.offsets[where], int(output.metadata[where]))
        return Resume(0, NEVER)


class MemoryLogs:
    """Both logs of one partition; assignment goes as Kafka's would."""

    def __init__(self, joiner: Joiner, sink: MemorySink, events: list[Record], labels: list[Record]) -> None:
        self._joiner, self._sink, self._logs = joiner, sink, (events, labels)
        self.next = [0, 0]
        self.paused: dict[int, bool] = {}
        self.starts: list[Mapping[int, int]] = []

    def assign(self) -> None:
        committed = [self._sink.committed(side) for side in (EVENTS, LABELS)]
        read_from = self._joiner.assigned(0, *committed)
        for side in (EVENTS, LABELS):
            at = [r.offset for r in self._logs[side] if read_from.at_ms is None or r.timestamp_ms >= read_from.at_ms]
            self.next[side] = min([*at, committed[side].offset]) if read_from.rebuild else committed[side].offset
            self._joiner.started(0, side, self.next[side])
        self.starts.append(dict(enumerate(self.next)))

    def poll(self) -> Polled:
        polled = Polled()
        for side in (EVENTS, LABELS):
            if not self.paused.get(side) and (records := self._logs[side][self.next[side] :]):
                polled.records[side, 0] = records
                self.next[side] += len(records)
            polled.ends[side, 0] = self.next[side]
        return polled

    def pause(self, side: int, partition: int, *, paused: bool) -> None:
        self.paused[side] = paused

    def rejoin(self) -> None:
        self._joiner.revoked()
        self.assign()

    def member(self) -> Member:
        return Member(1, b"member")


def record(side: int, offset: int, timestamp_ms: int, value: object, headers: Headers | None = None) -> Record:
    data = value if isinstance(value, bytes) else msgspec.json.encode(value)
    message = MemoryRecord(data, b"k%d" % offset, NAMES.topics[side], 0, offset, timestamp_ms, headers)
    return Record(offset, timestamp_ms, data, message)


def world(events: list[Record], labels: list[Record], aborts: int = 0) -> tuple[Joiner, MemoryLogs, MemorySink]:
    sink = MemorySink(aborts)
    joiner = Joiner(NAMES, 100, key_of(Event), key_of(Label), sink)
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
    assert (example.event_ms, example.label_ms) == (11, 21)


def test_examples_dead_letters_and_both_offsets_go_in_one_transaction() -> None:
    joiner, logs, sink = world([*TWO_EVENTS, record(EVENTS, 2, 30, b"no json")], TWO_LABELS)
    joiner.step(logs)
    (output,) = sink.outputs
    assert len(sink.values) == 2
    assert [(d.topic, d.offset, d.value, d.phase) for d in sink.dead] == [("toy.events", 2, b"no json", "decode")]
    assert output.offsets == {Partition("toy.events", 0): 3, Partition("toy.labels", 0): 2}
    assert output.metadata == {Partition("toy.events", 0): "30", Partition("toy.labels", 0): "21"}


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
    assert logs.starts[-1] == {EVENTS: 2, LABELS: 1}
    logs._logs = (TWO_EVENTS, TWO_LABELS)
    joiner.step(logs)
    assert len(sink.values) == 2


def test_a_partition_that_somebody_else_has_joined_meanwhile_is_rebuilt() -> None:
    joiner, logs, sink = world(TWO_EVENTS, TWO_LABELS[:1])
    joiner.step(logs)
    sink.outputs.append(Output(1, {Partition("toy.events", 0): 2, Partition("toy.labels", 0): 2}))
    sink.outputs[-1].metadata = {Partition("toy.events", 0): "11", Partition("toy.labels", 0): "21"}
    logs.rejoin()
    assert logs.starts[-1] == {EVENTS: 0, LABELS: 0}
    logs._logs = (TWO_EVENTS, TWO_LABELS)
    joiner.step(logs)
    assert len(sink.values) == 1
    assert joiner.joins[0].resume(LABELS) == Resume(2, 21)
