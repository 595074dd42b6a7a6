"""Workers stage in turn; nothing is lost, overtaken, or waited for for ever."""

import math

import pytest

from headrace.weights.worker.wire import Activate, Active, Failed, Retire, Stage, Staged
from services.ckpt.agent.delivery.turns import Turns
from services.ckpt.agent.state import Send


def stage(connection: int, digest: str = "a", by: float = math.inf) -> Send:
    return Send(connection, Stage(1, digest, b"", "/slot"), by)


def activate(connection: int, digest: str = "a") -> Send:
    return Send(connection, Activate(1, digest))


def test_the_next_begins_when_one_is_done():
    """However it ended."""
    turns = Turns(2)
    assert [turns.pass_on(stage(n), 0.0) for n in (1, 2, 3, 4)] == [[stage(1)], [stage(2)], [], []]
    assert turns.on_message(2, Staged(1, "a", {}), 0.0) == [stage(3)]
    assert turns.on_message(1, Failed(1, "a", "no"), 0.0) == [stage(4)]
    assert turns.on_message(3, Staged(1, "a", {}), 0.0) == []


def test_what_follows_a_message_that_is_held_back_stays_behind_it():
    """And what is for others passes."""
    turns = Turns(1)
    turns.pass_on(stage(1), 0.0)
    assert turns.pass_on(stage(2), 0.0) == turns.pass_on(activate(2), 0.0) == []
    assert turns.pass_on(activate(1), 0.0) == [activate(1)]
    assert turns.pass_on(Send(3, Retire("x")), 0.0) == [Send(3, Retire("x"))]
    assert turns.on_message(1, Staged(1, "a", {}), 0.0) == [stage(2), activate(2)]
    assert turns.pass_on(activate(2), 0.0) == [activate(2)]


def test_a_turn_ends_with_the_newest_version_that_the_worker_was_asked_for():
    """Only the newest is staged, so only of it a word is sure to come."""
    turns = Turns(1)
    turns.pass_on(stage(1, "a"), 0.0)
    assert turns.pass_on(stage(1, "b"), 0.0) == [stage(1, "b")]
    turns.pass_on(stage(2, "a"), 0.0)
    turns.pass_on(stage(2, "b"), 0.0)
    assert turns.on_message(1, Staged(1, "a", {}), 0.0) == []
    assert turns.on_message(1, Active(1, "b", {}), 0.0) == []
    assert turns.on_message(1, Staged(1, "b", {}), 0.0) == [stage(2, "a"), stage(2, "b")]
    turns.pass_on(stage(3), 0.0)
    assert turns.on_message(2, Staged(1, "a", {}), 0.0) == []
    assert turns.on_message(2, Staged(1, "b", {}), 0.0) == [stage(3)]


def test_a_worker_that_goes_or_hangs_keeps_nobody_waiting():
    """A connection that ended is forgotten; a turn that takes too long is over."""
    turns = Turns(1, patience_s=5.0)
    for n in (1, 2, 3):
        turns.pass_on(stage(n), 0.0)
    assert turns.on_gone(2, 1.0) == []
    assert turns.on_tick(4.9) == []
    assert turns.on_tick(5.0) == [stage(3)]
    assert turns.on_message(1, Staged(1, "a", {}), 6.0) == []
    turns.pass_on(stage(4), 6.0)
    assert turns.on_gone(3, 6.0) == [stage(4)]


@pytest.mark.parametrize(
    ("workers", "at_once", "by", "patience"), [(2, 1, 2.0, 1.0), (5, 1, 2.0, 0.4), (5, 2, 3.0, 1.0), (2, 1, 30.0, 5.0)]
)
def test_however_many_are_slow_everyone_begins_before_the_coordinator_stops_waiting(workers, at_once, by, patience):
    """None ever answers: the time is shared evenly, and the last one's share is as long as the others'."""
    turns, now, began = Turns(at_once, patience_s=5.0), 0.0, []
    for n in range(workers):
        began += [(now, send.connection) for send in turns.pass_on(stage(n, by=by), now)]
    while turns.next_end < math.inf:
        assert turns.on_tick(turns.next_end - 0.01) == []
        now = turns.next_end
        began += [(now, send.connection) for send in turns.on_tick(now)]
    assert [connection for _, connection in began] == list(range(workers))
    assert [at for at, _ in began] == pytest.approx([n // at_once * patience for n in range(workers)])
    assert began[-1][0] + patience <= by + 1e-9


def test_what_the_quick_leave_is_for_the_slow():
    """The first answers at once: the second may take half of all the time, and the third has the other half."""
    turns = Turns(1, patience_s=5.0)
    for n in range(3):
        turns.pass_on(stage(n, by=2.0), 0.0)
    assert turns.next_end == pytest.approx(2.0 / 3)
    assert turns.on_message(0, Staged(1, "a", {}), 0.0) == [stage(1, by=2.0)]
    assert turns.next_end == pytest.approx(1.0)
    assert turns.on_tick(1.0) == [stage(2, by=2.0)]
    assert turns.next_end == math.inf


def test_after_the_coordinator_has_stopped_waiting_workers_still_stage_in_turn():
    """Laggards catch up beside those who serve; patience is what it is without a deadline."""
    turns = Turns(1, patience_s=5.0)
    turns.pass_on(stage(1, by=2.0), 0.0)
    turns.pass_on(stage(2, by=2.0), 3.0)
    assert turns.on_tick(3.0) == [stage(2, by=2.0)]
    turns.pass_on(stage(3, by=2.0), 4.0)
    assert turns.next_end == 8.0
    assert turns.on_tick(7.9) == []
    assert turns.on_tick(8.0) == [stage(3, by=2.0)]
