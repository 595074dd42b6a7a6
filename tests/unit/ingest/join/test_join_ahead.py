"""The join reads on while a transaction commits, and commits the same as one that waits."""

import threading
from collections.abc import Callable

import msgspec
import pytest

from headrace.runtime.errors import FencedError
from headrace.streams.delivery import Output
from headrace.streams.membership import Member
from services.ingest.join.delivery import Delivery
from services.ingest.join.loop import Joiner
from services.ingest.join.service import EVENTS, LABELS, SIDES
from tests.patience import WAIT_S
from tests.unit.ingest.join.test_join_loop import NAMES, RULES, Event, Label, MemoryLogs, MemorySink, key_of, record

OUTPUT, MEMBER = Output(1, {}), Member(1, b"member")


class GatedSink(MemorySink):
    """Delivers when it is let."""

    def __init__(self, aborts: int = 0) -> None:
        super().__init__(aborts)
        self.gate = threading.Event()

    def deliver(self, output: Output, member: Member) -> None:
        assert self.gate.wait(WAIT_S)
        super().deliver(output, member)


def until(found: Callable[[], bool], step: Callable[[], object]) -> None:
    for _ in range(10_000):
        if found():
            return
        step()
    raise AssertionError("never")


def world(sink: MemorySink, pairs: int) -> tuple[Joiner, MemoryLogs]:
    joiner = Joiner(NAMES, RULES, key_of(Event), key_of(Label), sink, ahead=True)
    logs = MemoryLogs(joiner, sink, [], [])
    logs.assign()
    append(logs, 0, pairs)
    return joiner, logs


def append(logs: MemoryLogs, start: int, count: int) -> None:
    for side, name in ((EVENTS, "x"), (LABELS, "y")):
        logs.append(side, [record(side, n, n, {"id": f"{n}", name: 1.0}) for n in range(start, start + count)])


def keys(sink: MemorySink) -> list[str]:
    return sorted(msgspec.json.decode(value)["key"] for value in sink.values)


def test_the_next_records_are_read_while_a_transaction_commits_and_are_committed_after_it() -> None:
    sink = GatedSink()
    joiner, logs = world(sink, 3)
    joiner.step(logs)
    assert sink.outputs == []
    append(logs, 3, 2)
    threading.Timer(0.05, sink.gate.set).start()
    joiner.step(logs)
    joiner.close()
    assert [sorted(output.offsets.values()) for output in sink.outputs] == [[3, 3], [5, 5]]
    assert keys(sink) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("aborts", [1, 2, 3])
def test_what_was_read_on_top_of_an_aborted_transaction_is_void_and_read_again(aborts: int) -> None:
    sink = MemorySink(aborts)
    joiner, logs = world(sink, 3)
    joiner.step(logs)
    append(logs, 3, 3)
    until(lambda: len(sink.values) >= 6, lambda: joiner.step(logs))
    joiner.close()
    assert keys(sink) == [f"{n}" for n in range(6)]
    assert [sink.committed(side).offset for side in SIDES] == [6, 6]


@pytest.mark.parametrize("aborts", [0, 1])
def test_partitions_are_given_up_after_what_is_in_hand_is_over(aborts: int) -> None:
    sink = GatedSink(aborts)
    joiner, logs = world(sink, 3)
    joiner.step(logs)
    threading.Timer(0.05, sink.gate.set).start()
    logs.rejoin()
    assert len(sink.outputs) == 1 - aborts
    assert logs.starts[-1] == ((0, 0) if aborts else (3, 3))
    until(lambda: len(sink.values) >= 3, lambda: joiner.step(logs))
    joiner.close()
    assert keys(sink) == ["0", "1", "2"]


class FailingSink(MemorySink):
    """Is fenced."""

    def deliver(self, output: Output, member: Member) -> None:
        raise FencedError("another one")


@pytest.mark.parametrize("ahead", [True, False])
def test_a_delivery_raises_where_it_is_settled_and_tells_only_what_was_committed(ahead: bool) -> None:
    told: list[int] = []
    failing, fine = (Delivery(sink, ahead=ahead) for sink in (FailingSink(), MemorySink()))
    failing.begin(OUTPUT, MEMBER, lambda: told.append(1))
    with pytest.raises(FencedError):
        failing.settle()
    failing.settle()
    fine.begin(OUTPUT, MEMBER, lambda: told.append(2))
    with pytest.raises(RuntimeError, match="in hand"):
        fine.begin(OUTPUT, MEMBER, lambda: told.append(3))
    fine.settle()
    assert told == [2]
    failing.close()
    fine.close()
