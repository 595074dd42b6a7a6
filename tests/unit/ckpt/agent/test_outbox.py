"""Reports that say the same wait for each other; none is lost, none is overtaken, none waits for long."""

import math

import pytest

from headrace.contracts.events_pb2 import WeightsApplied
from services.ckpt.agent.delivery.outbox import Outbox


def report(state: str, worker: str = "a") -> WeightsApplied:
    return WeightsApplied(
        model="m", worker=worker, state=WeightsApplied.State.Value(state), version=2, manifest_digest="d"
    )


@pytest.mark.parametrize("state", ["STAGED", "ACTIVE"])
def test_the_last_takes_those_before_it_along(state):
    outbox = Outbox(hold_s=1.0)
    first, second, last = (report(state, worker) for worker in "abc")
    assert outbox.put([first], 10.0, more=True) == []
    assert outbox.put([second], 10.5, more=True) == []
    assert outbox.due == 11.0
    assert outbox.put([last], 10.6, more=False) == [first, second, last]
    assert outbox.due == math.inf
    assert outbox.on_tick(100.0) == []


@pytest.mark.parametrize("state", ["FAILED", "JOINED", "LEFT", "HEARTBEAT"])
def test_what_somebody_must_know_at_once_does_not_wait_and_overtakes_nothing(state):
    outbox = Outbox(hold_s=1.0)
    staged, news = report("STAGED"), report(state, "b")
    outbox.put([staged], 10.0, more=True)
    assert outbox.put([news], 10.0, more=True) == [staged, news]


def test_one_that_takes_long_keeps_the_others_back_for_a_moment_only():
    outbox = Outbox(hold_s=1.0)
    staged = report("STAGED")
    outbox.put([staged], 10.0, more=True)
    assert outbox.on_tick(10.9) == []
    assert outbox.on_tick(11.0) == [staged]


def test_nothing_new_lets_nothing_go():
    outbox = Outbox(hold_s=1.0)
    outbox.put([report("STAGED")], 10.0, more=True)
    assert outbox.put([], 10.1, more=False) == []
    assert outbox.take() == [report("STAGED")]
