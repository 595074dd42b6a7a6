"""A share of the workers first, then all: told by records and asked for decisions."""

from dataclasses import replace

import pytest

from headrace.contracts.events_pb2 import RolloutDirective
from headrace.rollouts.directives import CANARY, RETIRE
from headrace.rollouts.reports import after
from services.ckpt.coordinator.canaries import choose_canaries
from services.ckpt.coordinator.workers import FleetWorker
from tests.rollout_kit import POLICY, alert, applied, checkpoint, newest, operation, rollout, steps, taken_over

CAREFUL = replace(POLICY, canary_share=0.25, canary_s=60.0, worker_ttl_s=1000.0)
WORKERS = ("a", "b", "c", "d")


class Careful:
    """Version 1 serves on four workers, and version 2 has gone to its canary."""

    def __init__(self) -> None:
        self.rollout = rollout(CAREFUL, active=1)
        for worker in WORKERS:
            self.rollout.on_applied(applied(worker, "JOINED", 1, role="stream"), 0.0)
        self.rollout.on_checkpoint(checkpoint(2))
        self.log = self.rollout.decide(0.0)
        for worker in WORKERS:
            self.rollout.on_applied(applied(worker, "STAGED", 2, role="stream"), 0.0)
        self.log += self.rollout.decide(0.0)
        (self.canary,) = self.log[-1].canaries

    def told(self, worker: str, state: str, version: int, now: float, **more) -> None:
        self.rollout.on_applied(applied(worker, state, version, role="stream", **more), now)

    def decide(self, now: float) -> list[RolloutDirective]:
        made = self.rollout.decide(now)
        self.log += made
        return made


@pytest.fixture
def careful():
    return Careful()


def test_the_canaries_serve_first_and_the_others_follow(careful):
    """After as long as the policy says, and not a moment before."""
    assert steps(careful.log) == [("STAGE", 2), ("CANARY", 2)]
    assert careful.canary in WORKERS
    careful.told(careful.canary, "ACTIVE", 2, 0.1)
    assert careful.decide(59.9) == []
    (directive,) = careful.decide(60.0)
    assert steps([directive]) == [("ACTIVATE", 2)]
    assert directive.reason == "canary: 1 of 1 served it without an alert"
    assert careful.rollout.judge.canary is None


def test_a_critical_alert_takes_it_back_from_the_canaries_and_refuses_it(careful):
    """The others never serve it; the next version gets its chance."""
    careful.told(careful.canary, "ACTIVE", 2, 0.1)
    for ignored in (alert(2, "WARNING"), alert(2, firing=False), alert(1)):
        careful.rollout.on_alert(ignored, 700.0)
        assert careful.decide(10.0) == []
    careful.rollout.on_alert(alert(2), 20.0)
    (directive,) = careful.decide(20.0)
    assert (directive.action, directive.version, list(directive.canaries)) == (RETIRE, 2, [careful.canary])
    assert (directive.cause, directive.reason) == ("alert", "version_worse: far off")
    assert careful.decide(100.0) == []
    careful.rollout.on_checkpoint(checkpoint(3))
    assert steps(careful.decide(100.0)) == [("STAGE", 3)]


def test_a_canary_that_cannot_serve_it_takes_it_back(careful):
    """Its agent may try again for a while; a worker that served it and cannot is believed at once."""
    careful.told(careful.canary, "FAILED", 2, 1.0, error="no room")
    assert careful.decide(3.9) == []
    (directive,) = careful.decide(4.0)
    assert (directive.action, directive.cause) == (RETIRE, "failures")
    assert f"{careful.canary}: no room" in directive.reason

    another = Careful()
    another.told(another.canary, "FAILED", 2, 1.0)
    another.told(another.canary, "ACTIVE", 2, 2.0)
    assert another.decide(30.0) == []
    another.told(another.canary, "FAILED", 2, 31.0, while_serving=True)
    another.told(another.canary, "LEFT", 2, 31.0)
    assert steps(another.decide(31.0)) == [("RETIRE", 2)]


def test_what_others_fail_at_is_not_held_against_it(careful):
    """A late joiner that cannot stage it proves nothing yet."""
    careful.told(careful.canary, "ACTIVE", 2, 0.1)
    careful.told("late", "JOINED", 0, 5.0)
    careful.told("late", "FAILED", 2, 5.0)
    assert steps(careful.decide(60.0)) == [("ACTIVATE", 2)]


def test_canaries_that_are_gone_are_replaced_once(careful):
    """They may have been moved; or it is the version that ends them, which must not go through the whole fleet."""
    careful.told(careful.canary, "LEFT", 2, 1.0)
    (again,) = careful.decide(60.0)
    assert (again.action, again.cause) == (CANARY, "silence")
    (second,) = again.canaries
    assert second != careful.canary
    careful.told(second, "LEFT", 2, 61.0)
    assert careful.decide(119.0) == []
    (directive,) = careful.decide(120.0)
    assert (directive.action, directive.cause) == (RETIRE, "silence")
    assert "none of its canaries serves it" in directive.reason


def test_with_nobody_left_at_all_it_waits_for_those_who_come(careful):
    """Nothing is activated on nobody's word."""
    for worker in WORKERS:
        careful.told(worker, "LEFT", 1, 1.0)
    assert careful.decide(500.0) == []
    careful.told("new", "JOINED", 1, 501.0)
    (again,) = careful.decide(501.0)
    assert (again.action, list(again.canaries)) == (CANARY, ["new"])


def test_a_joiner_in_the_middle_serves_what_is_active_and_changes_nothing(careful):
    """Canaries are named, not counted."""
    careful.told(careful.canary, "ACTIVE", 2, 0.1)
    for name in ("e", "f", "g", "h"):
        careful.told(name, "JOINED", 1, 5.0)
    assert careful.decide(5.0) == []
    assert steps(careful.decide(60.0)) == [("ACTIVATE", 2)]


def test_newer_versions_wait_and_the_newest_follows(careful):
    """One at a time is judged."""
    careful.told(careful.canary, "ACTIVE", 2, 0.1)
    for version in (3, 4):
        careful.rollout.on_checkpoint(checkpoint(version))
        assert careful.decide(30.0) == []
    assert steps(careful.decide(60.0)) == [("ACTIVATE", 2), ("STAGE", 4)]


def test_rolling_back_in_the_middle_ends_it_and_pins_what_is_active(careful):
    """The version before the canaries' is the active one; after resuming the other may come again."""
    careful.rollout.on_operation(operation("ROLL_BACK"))
    assert steps(careful.decide(1.0)) == [("RETIRE", 2), ("ROLL_BACK", 1)]
    assert careful.rollout.view.pinned
    careful.rollout.on_operation(operation("RESUME"))
    assert steps(careful.decide(2.0)) == [("ACTIVATE", 1), ("STAGE", 2)]


@pytest.mark.parametrize("workers", [(), ("a",)])
def test_there_are_no_canaries_where_no_others_could_be_spared(workers):
    """And none for the first version, which replaces nothing."""
    made = rollout(CAREFUL, workers=workers, active=1)
    made.on_checkpoint(checkpoint(2))
    made.decide(0.0)
    for worker in workers:
        made.on_applied(applied(worker, "STAGED", 2), 0.0)
    made.decide(0.0)
    assert made.ledger.active.version == 2
    first = rollout(CAREFUL, workers=WORKERS)
    first.on_checkpoint(checkpoint(1))
    first.decide(0.0)
    for worker in WORKERS:
        first.on_applied(applied(worker, "STAGED", 1), 0.0)
    assert steps(first.decide(0.0)) == [("ACTIVATE", 1)]


def test_a_successor_goes_on_in_the_middle_and_keeps_the_time(careful):
    """Restored from what compaction leaves; the canaries are the same."""
    heir = taken_over(careful.log, 2, CAREFUL, now=10.0)
    for worker in WORKERS:
        heir.on_applied(applied(worker, "HEARTBEAT", 2 if worker == careful.canary else 1), 10.0)
    assert heir.decide(59.9) == []
    assert steps(heir.decide(60.0)) == [("ACTIVATE", 2)]


def test_a_successor_hears_an_alert_and_remembers_the_refusal(careful):
    """Also that of its successor, when compaction has taken the directive that ended the canary's turn."""
    heir = taken_over(careful.log, 2, CAREFUL, now=10.0)
    heir.on_applied(applied("a", "HEARTBEAT", 1), 10.0)
    heir.on_alert(alert(2), 9.0)
    log = [*careful.log, *heir.decide(10.0)]
    assert steps(log[-1:]) == [("RETIRE", 2)]
    third = taken_over(log, 3, CAREFUL, now=20.0)
    assert third.judge.canary is None
    third.on_applied(applied("a", "HEARTBEAT", 1), 20.0)
    log += third.decide(20.0)
    assert steps(log[-1:]) == [("STAGE", 3)]
    assert {d.action for d in newest(log) if d.version == 2} == {RETIRE}
    fourth = taken_over(log, 2, CAREFUL, now=30.0)
    assert fourth.judge.canary is None
    assert "d2" in fourth.ledger.refused


def fleet(**roles: str) -> dict[str, FleetWorker]:
    """Workers by name, each with its role."""
    return {name: FleetWorker(after(applied(name, "JOINED", role=role), None), 0.0) for name, role in roles.items()}


def test_canaries_are_a_share_never_all_and_the_same_for_the_same_fleet():
    """Roles take turns, those whose predictions are scored first."""
    stream = {f"s{i}": "stream" for i in range(6)}
    workers = fleet(**{f"r{i}": "rpc" for i in range(4)}, **stream)
    assert [len(choose_canaries(workers, share)) for share in (0.01, 0.1, 0.11, 0.5, 0.99)] == [1, 1, 2, 5, 9]
    assert choose_canaries(workers, 0.01)[0] in stream
    two = choose_canaries(workers, 0.2)
    assert {workers[name].role for name in two} == {"stream", "rpc"}
    assert choose_canaries(dict(reversed(workers.items())), 0.2) == two
    assert choose_canaries(workers, 0.2, {"s0", "r1", "gone"}) == ["r1", "s0"]
    assert choose_canaries(workers, 0.2, {"gone"}) == two
    assert choose_canaries(fleet(only=""), 0.5) == ["only"]
