"""Versions that a worker keeps beside the live one, against a hand-written agent on a real socket."""

import pytest
import torch
from torch import nn

from headrace.weights import LiveWeights
from headrace.weights.errors import NotKept
from headrace.weights.worker.version_policy import VersionPolicy
from headrace.weights.worker.wire import Activate, Active, Keep, Kept, Label, Released, Stage, Staged
from tests.patience import wait_for
from tests.unit.weights.test_weights_live import agent, answer

__all__ = ["agent"]


@pytest.fixture
def follow(agent):
    made = []

    def start(policy: str) -> LiveWeights:
        live = LiveWeights(
            agent.path, "m", lambda: nn.Linear(2, 1), worker="w", role="test", policy=VersionPolicy.parse(policy)
        )
        made.append(live)
        live.start()
        return live

    yield start
    for live in made:
        live.stop()


def named(live: LiveWeights, version: int) -> tuple[int, int]:
    with live.lease_of(version) as bound, torch.inference_mode():
        return bound.version, int(bound.network(torch.ones(1, 2)))


def keep(order: Stage) -> Keep:
    return Keep(order.version, order.digest, order.manifest, order.path)


def test_the_versions_of_the_policy_may_be_named_and_the_others_let_their_memory_go(agent, follow):
    """Each answers with its own weights."""
    agent.pool.limit = 6
    live = follow("latest:3")
    assert agent.greet().keeps == 3
    orders = [agent.roll_out(version) for version in (1, 2, 3)]
    assert live.versions == [1, 2, 3]
    agent.roll_out(4)
    assert agent.hear(Released).digest == orders[0].digest
    assert live.versions == [2, 3, 4]
    assert [named(live, version) for version in (2, 3, 4)] == [(version, version) for version in (2, 3, 4)]
    assert answer(live) == (4, 4)
    with pytest.raises(NotKept, match="does not keep version 1"):
        named(live, 1)


def test_specific_versions_stay_once_they_have_served(agent, follow):
    """And the one before the live one is held, but not to be named."""
    agent.pool.limit = 6
    live = follow("specific:2")
    agent.greet()
    for version in (1, 2, 3):
        agent.roll_out(version)
    agent.hear(Released)
    agent.roll_out(4)
    assert live.versions == [2, 4]
    assert named(live, 2) == (2, 2)


def test_rolling_back_to_any_version_that_is_kept_is_a_flip(agent, follow):
    """However many there are between."""
    agent.pool.limit = 6
    live = follow("latest:3")
    agent.greet()
    one = agent.roll_out(1)
    agent.roll_out(2)
    agent.roll_out(3)
    agent.say(Activate(1, one.digest))
    assert agent.hear(Active).version == 1
    assert answer(live) == (1, 1)
    assert live.versions == [1, 2, 3]


def test_a_worker_that_starts_later_keeps_what_served_before(agent, follow):
    """Beside the live one; what cannot be mapped is told, and is no failure."""
    agent.pool.limit = 6
    live = follow("latest:3")
    agent.greet()
    older = agent.put(1)
    old = agent.put(2, keep={older.digest})
    three = agent.put(3, keep={older.digest, old.digest})
    agent.say(three)
    agent.hear(Staged)
    agent.say(Activate(3, three.digest))
    agent.hear(Active)
    for order in (old, older):
        agent.say(keep(order))
        assert agent.hear(Kept) == Kept(order.version, order.digest)
    assert live.versions == [1, 2, 3]
    assert [named(live, version) for version in (1, 2)] == [(1, 1), (2, 2)]
    agent.say(Keep(9, "9" * 32, old.manifest, old.path))
    assert "SlotError" in agent.hear(Kept).error
    assert answer(live) == (3, 3)
    order = agent.put(4, keep={old.digest, older.digest})
    agent.say(order)
    assert agent.hear(Staged).digest == order.digest


def test_labels_are_the_fleets(agent, follow):
    """Before it has a word to say, the live version is the stable one; what is staged may be a canary elsewhere."""
    live = follow("latest:2")
    agent.greet()
    assert live.labels == {}
    one = agent.roll_out(1)
    assert live.labels == {"stable": 1}
    two = agent.put(2, keep={one.digest})
    agent.say(two)
    agent.hear(Staged)
    agent.say(Label({"stable": one.digest, "canary": two.digest}))
    wait_for(lambda: live.labels == {"stable": 1, "canary": 2})
    assert named(live, 2) == (2, 2)
    assert live.versions == [1]
    agent.say(Label({"stable": "9" * 32}))
    wait_for(lambda: live.labels == {})
