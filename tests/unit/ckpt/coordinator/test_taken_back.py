"""What takes a version back by itself: workers that fail, and critical alerts."""

from dataclasses import replace

import pytest

from headrace.rollouts.directives import ROLL_BACK
from tests.rollout_kit import POLICY, alert, applied, checkpoint, operation, rollout, steps, taken_over

LASTING = replace(POLICY, worker_ttl_s=10_000.0)


def flipped(policy=LASTING, workers=("a", "b", "c"), active=3):
    """Version `active` was activated at 0 on the workers, all of which serve it."""
    made = rollout(policy, workers=workers, active=active - 1)
    made.on_checkpoint(checkpoint(active))
    log = made.decide(0.0)
    for worker in workers:
        made.on_applied(applied(worker, "STAGED", active), 0.0)
    log += made.decide(0.0)
    assert steps(log)[-1] == ("ACTIVATE", active)
    for worker in workers:
        made.on_applied(applied(worker, "ACTIVE", active), 0.0)
    return made, log


def test_an_alert_takes_the_version_back_and_newer_ones_come():
    """It is refused, nothing is pinned, and the reason is told."""
    made, _ = flipped()
    made.on_alert(alert(3), 5.0)
    (directive,) = made.decide(5.0)
    assert (directive.action, directive.version, directive.previous_version, directive.pinned) == (
        ROLL_BACK,
        2,
        3,
        False,
    )
    assert (directive.cause, directive.reason) == ("alert", "version 3 was taken back: version_worse: far off")
    assert made.decide(6.0) == []
    made.on_checkpoint(checkpoint(4))
    assert steps(made.decide(7.0)) == [("STAGE", 4)]


def test_each_version_is_taken_back_once_and_the_one_before_is_not_judged():
    """It has served before: if it is now bad as well, it is not the weights."""
    made, _ = flipped()
    for version in (3, 3, 2):
        made.on_alert(alert(version), 5.0)
        made.decide(5.0)
        made.on_alert(alert(version), 5.0)
    assert (made.ledger.active.version, made.decide(6.0)) == (2, [])


@pytest.mark.parametrize(
    ("news", "at", "policy"),
    [
        (alert(3, "WARNING"), 5.0, LASTING),
        (alert(3, firing=False), 5.0, LASTING),
        (alert(0), 5.0, LASTING),
        (alert(3), 601.0, LASTING),
        (alert(3), 5.0, replace(LASTING, rollback_on_alerts=False)),
        (alert(3), 5.0, replace(LASTING, rollback_window_s=0.0)),
    ],
    ids=["no critical one", "stopped", "no version", "too late", "switched off", "never"],
)
def test_alerts_that_take_nothing_back(news, at, policy):
    made, _ = flipped(policy)
    made.on_alert(news, at)
    assert made.decide(at) == []
    assert made.ledger.active.version == 3


def test_what_an_operator_pinned_is_not_judged():
    """Neither by alerts nor by failures; resuming puts it on trial anew, for what comes from then on."""
    made, _ = flipped()
    made.on_operation(operation("ROLL_BACK"))
    made.decide(1.0)
    made.on_alert(alert(2), 2.0)
    made.on_applied(applied("a", "FAILED", 2, while_serving=True), 2.0)
    assert made.decide(9.0) == []
    made.on_operation(operation("RESUME"))
    assert steps(made.decide(10.0)) == [("ACTIVATE", 2), ("STAGE", 3)]
    made.on_alert(alert(2), 5.0)
    assert made.decide(11.0) == []
    made.on_alert(alert(2), 12.0)
    assert steps(made.decide(12.0)) == [("RETIRE", 3), ("ROLL_BACK", 1), ("STAGE", 3)]


def test_nobody_goes_back_to_a_version_that_an_alert_named_later():
    """Its labels came when the next one served already."""
    made, _ = flipped()
    made.on_alert(alert(2), 1.0)
    assert made.decide(1.0) == []
    made.on_alert(alert(3), 2.0)
    assert steps(made.decide(2.0)) == [("ROLL_BACK", 1)]


def test_where_nothing_is_left_to_go_back_to_it_stays():
    """Nothing is better than the only version; later ones come as before."""
    made, _ = flipped(active=1)
    made.on_alert(alert(1), 1.0)
    assert made.decide(1.0) == []
    made.on_checkpoint(checkpoint(2))
    assert steps(made.decide(2.0)) == [("STAGE", 2)]


def test_versions_older_than_the_one_taken_back_stay_skipped():
    """3 was superseded before its turn; nobody knows whether it is any better than 4."""
    made = rollout(LASTING, workers=("a",), active=1)
    for version in (2, 3, 4):
        made.on_checkpoint(checkpoint(version))
    assert steps(made.decide(0.0)) == [("STAGE", 4)]
    made.on_applied(applied("a", "STAGED", 4), 0.0)
    made.decide(0.0)
    made.on_alert(alert(4), 1.0)
    assert steps(made.decide(1.0)) == [("ROLL_BACK", 1)]
    assert made.decide(2.0) == []


def test_failures_to_activate_take_it_back_once_the_quorum_is_lost_for_good():
    """With a majority of three, one may fail; the agents try again for a while first."""
    made, _ = flipped(replace(LASTING, quorum="majority"))
    made.on_applied(applied("a", "FAILED", 3, error="no room"), 1.0)
    made.on_applied(applied("b", "FAILED", 3), 1.0)
    assert made.decide(3.9) == []
    made.on_applied(applied("b", "ACTIVE", 3), 3.9)
    assert made.decide(100.0) == []
    made.on_applied(applied("b", "FAILED", 3), 101.0)
    assert made.decide(103.0) == []
    (directive,) = made.decide(104.0)
    assert (directive.action, directive.version, directive.cause) == (ROLL_BACK, 2, "failures")
    assert directive.reason == "version 3 was taken back: failed on 2 of 3 workers, a: no room"


def test_workers_that_served_it_and_cannot_are_believed_even_when_they_are_gone():
    """That they end is the reason to take it back."""
    made, _ = flipped()
    made.on_applied(applied("a", "FAILED", 3, while_serving=True, error="all NaN"), 1.0)
    made.on_applied(applied("a", "LEFT", 3), 1.0)
    assert steps(made.decide(1.0)) == [("ROLL_BACK", 2)]


def test_where_nobody_was_there_those_who_come_first_must_prove_it():
    """Activated so that late joiners can load it; but they cannot."""
    made = rollout(LASTING, active=2)
    for worker in ("a", "b"):
        made.on_applied(applied(worker, "JOINED"), 1.0)
    assert made.decide(1.0) == []
    for worker in ("a", "b"):
        made.on_applied(applied(worker, "FAILED", 2, error="NaN"), 1.0)
    assert steps(made.decide(4.0)) == [("ROLL_BACK", 1)]


def test_failures_of_those_who_come_later_and_failures_that_do_not_matter_take_nothing_back():
    """A late joiner on a broken host; and with the policy switched off, nobody."""
    made, _ = flipped()
    made.on_applied(applied("late", "JOINED"), 1.0)
    made.on_applied(applied("late", "FAILED", 3), 1.0)
    assert made.decide(60.0) == []
    calm, _ = flipped(replace(LASTING, rollback_on_failures=False))
    calm.on_applied(applied("a", "FAILED", 3, while_serving=True), 1.0)
    assert calm.decide(60.0) == []


def test_what_is_being_staged_meanwhile_comes_again():
    """It is newer than the bad one, and nothing was found wrong with it."""
    made, _ = flipped()
    made.on_checkpoint(checkpoint(4))
    made.decide(1.0)
    made.on_alert(alert(3), 2.0)
    assert steps(made.decide(2.0)) == [("RETIRE", 4), ("ROLL_BACK", 2), ("STAGE", 4)]


def test_a_successor_judges_and_remembers_as_its_predecessor_did():
    """Restored from the compacted log and the alerts since the activation."""
    _, log = flipped()
    heir = taken_over(log, 3, LASTING, now=10.0)
    heir.on_applied(applied("a", "HEARTBEAT", 3), 10.0)
    heir.on_alert(alert(3), 4.0)
    log += heir.decide(10.0)
    assert steps(log[-1:]) == [("ROLL_BACK", 2)]
    third = taken_over(log, 3, LASTING, now=20.0)
    third.on_applied(applied("a", "HEARTBEAT", 2), 20.0)
    third.on_alert(alert(3), 4.0)
    third.on_alert(alert(2), 15.0)
    assert third.decide(20.0) == []
    assert (third.ledger.active.version, third.view.pinned) == (2, False)
    third.on_operation(operation("ROLL_BACK"))
    assert steps(third.decide(21.0)) == [("STAGE", 1)]


@pytest.mark.parametrize(("lost", "expected"), [(False, [("ROLL_BACK", 2)]), (True, [])])
def test_what_the_stores_lost_does_not_speak_against_the_weights(lost, expected):
    """Hosts that start anew cannot pull what served: the trainer puts it back, and the version before is no better."""
    made, _ = flipped()
    for worker in "abc":
        made.on_applied(applied(worker, "FAILED", 3, chunks_lost=lost), 1.0)
    assert steps(made.decide(1.0 + LASTING.activate_grace_s)) == expected
