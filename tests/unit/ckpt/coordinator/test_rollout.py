"""A rollout, told by records and asked for decisions: no broker, no clock, no sleep."""

import pytest

from headrace.rollouts.directives import ACTIVATE
from services.ckpt.coordinator.policy import Policy
from services.ckpt.coordinator.service import Rollout
from tests.rollout_kit import POLICY, applied, checkpoint, newest, operation, rollout, steps, taken_over


def test_without_workers_a_version_is_activated_at_once():
    """So that late joiners can load it."""
    made = rollout()
    made.on_checkpoint(checkpoint(1))
    assert steps(made.decide(0.0)) == [("STAGE", 1), ("ACTIVATE", 1)]


def test_staged_by_all_then_activated():
    """And not a moment before."""
    made = rollout(workers=("a", "b"))
    made.on_checkpoint(checkpoint(1))
    assert steps(made.decide(0.0)) == [("STAGE", 1)]
    made.on_applied(applied("a", "STAGED", 1), 0.0)
    assert steps(made.decide(0.0)) == []
    made.on_applied(applied("b", "STAGED", 1), 0.0)
    (directive,) = made.decide(0.0)
    assert (directive.action, directive.version, directive.sequence) == (ACTIVATE, 1, 2)
    assert directive.manifest_digest == "d1"


@pytest.mark.parametrize(("quorum", "needed"), [("all", 4), ("majority", 3), ("1", 1), ("9", 4)])
def test_quorums(quorum, needed):
    """All, a majority, or a number, which all can always satisfy."""
    made = rollout(Policy(quorum=quorum), workers=("a", "b", "c", "d"))
    made.on_checkpoint(checkpoint(1))
    made.decide(0.0)
    for ready, worker in enumerate("abcd", 1):
        made.on_applied(applied(worker, "STAGED", 1), 0.0)
        activated = ("ACTIVATE", 1) in steps(made.decide(0.0))
        assert activated == (ready == needed)
        if activated:
            break


def test_superseded_versions_are_skipped():
    """While one is staged, many come: only the newest of them follows."""
    made = rollout(workers=("a",))
    made.on_checkpoint(checkpoint(1))
    made.decide(0.0)
    for version in (2, 3, 4):
        made.on_checkpoint(checkpoint(version))
        assert steps(made.decide(0.0)) == []
    made.on_applied(applied("a", "STAGED", 1), 0.0)
    assert steps(made.decide(0.0)) == [("ACTIVATE", 1), ("STAGE", 4)]


def test_duplicates_older_versions_and_a_fenced_trainers_events_are_ignored():
    """Each changes nothing."""
    made = rollout(active=3)
    assert not made.on_checkpoint(checkpoint(3))
    assert not made.on_checkpoint(checkpoint(2))
    assert made.on_checkpoint(checkpoint(4, epoch=2))
    assert not made.on_checkpoint(checkpoint(5, epoch=1))
    assert steps(made.decide(0.0)) == [("STAGE", 4), ("ACTIVATE", 4)]
    assert steps(made.decide(0.0)) == []


def test_a_refused_version_is_retired_and_not_tried_again():
    """The workers keep what they have; a later version gets its chance."""
    made = rollout(workers=("a", "b"), active=1)
    made.on_checkpoint(checkpoint(2))
    made.decide(0.0)
    made.on_applied(applied("a", "FAILED", 2), 0.0)
    assert steps(made.decide(0.0)) == [("RETIRE", 2)]
    assert steps(made.decide(1.0)) == []
    made.on_checkpoint(checkpoint(3))
    assert steps(made.decide(1.0)) == [("STAGE", 3)]


def test_a_quorum_bears_a_failure_that_all_does_not():
    """With a majority of three, one may fail."""
    made = rollout(Policy(quorum="majority"), workers=("a", "b", "c"))
    made.on_checkpoint(checkpoint(1))
    made.decide(0.0)
    made.on_applied(applied("a", "FAILED", 1), 0.0)
    made.on_applied(applied("b", "STAGED", 1), 0.0)
    assert steps(made.decide(0.0)) == []
    made.on_applied(applied("c", "STAGED", 1), 0.0)
    assert steps(made.decide(0.0)) == [("ACTIVATE", 1)]


def test_laggards_are_left_behind_at_the_deadline():
    """If anybody is ready; a version that nobody could stage is retired."""
    for ready, expected in ((("a",), [("ACTIVATE", 2)]), ((), [("RETIRE", 2)])):
        made = rollout(Policy(stage_timeout_s=2.0), workers=("a", "b"), active=1)
        made.on_checkpoint(checkpoint(2))
        (staged,) = made.decide(0.0)
        assert staged.stage_timeout_s == 2.0  # agents divide it among their workers
        for worker in ready:
            made.on_applied(applied(worker, "STAGED", 2), 0.0)
        assert steps(made.decide(1.9)) == []
        assert steps(made.decide(2.0)) == expected


def test_workers_that_leave_or_fall_silent_are_not_waited_for_and_joiners_neither():
    """One leaves, one dies without a word, one comes in the middle."""
    made = rollout(workers=("a", "b", "c"))
    made.on_checkpoint(checkpoint(1))
    made.decide(0.0)
    made.on_applied(applied("a", "LEFT"), 1.0)
    made.on_applied(applied("d", "JOINED"), 4.0)
    made.on_applied(applied("b", "STAGED", 1), 4.0)
    assert steps(made.decide(5.0)) == []
    assert steps(made.decide(5.1)) == [("ACTIVATE", 1)]
    assert set(made.fleet.alive) == {"b", "d"}


def test_when_all_are_gone_those_who_come_next_must_prove_the_version():
    """It may be what killed them."""
    made = rollout(workers=("a",), active=1)
    made.on_checkpoint(checkpoint(2))
    made.decide(0.0)
    made.on_applied(applied("a", "LEFT"), 0.0)
    assert steps(made.decide(0.0)) == []
    made.on_applied(applied("b", "JOINED", 1), 1.0)
    assert steps(made.decide(1.0)) == []
    made.on_applied(applied("b", "STAGED", 2), 1.0)
    assert steps(made.decide(1.0)) == [("ACTIVATE", 2)]


def test_workers_that_have_only_just_fallen_silent_are_no_empty_fleet():
    """A stalled host is not an empty fleet: workers that are heard of again must prove the version."""
    made = rollout(workers=("a", "b"), active=1)
    made.on_checkpoint(checkpoint(2))
    assert steps(made.decide(6.0)) == [("STAGE", 2)]
    assert made.fleet.alive == {}
    made.on_applied(applied("a", "HEARTBEAT", 1), 7.0)
    made.on_applied(applied("b", "FAILED", 2), 7.0)
    assert steps(made.decide(7.0)) == [("RETIRE", 2)]


@pytest.mark.parametrize(("at", "expected"), [(35.0, [("STAGE", 2)]), (35.1, [("STAGE", 2), ("ACTIVATE", 2)])])
def test_workers_that_were_silent_for_long_are_gone(at, expected):
    """For longer than they count as present and a version may take to be staged."""
    made = rollout(workers=("a",), active=1)
    made.decide(6.0)
    made.on_checkpoint(checkpoint(2))
    assert steps(made.decide(at)) == expected
    assert steps(made.decide(at + 30.0)) == ([] if len(expected) == 2 else [("ACTIVATE", 2)])


def test_one_that_left_is_not_missed():
    made = rollout(workers=("a",), active=1)
    made.decide(6.0)
    made.on_applied(applied("a", "LEFT"), 7.0)
    made.on_checkpoint(checkpoint(2))
    assert steps(made.decide(7.0)) == [("STAGE", 2), ("ACTIVATE", 2)]


def test_a_coordinator_that_did_not_get_on_takes_nobody_for_silent():
    """Nobody could be heard meanwhile; who was heard of since is not given more time than others."""
    made = rollout(workers=("a",), active=1)
    made.on_applied(applied("b", "JOINED", 1), 20.0)
    made.fleet.was_away(20.0, 21.0)
    made.on_checkpoint(checkpoint(2))
    assert steps(made.decide(24.0)) == [("STAGE", 2)]
    assert set(made.fleet.alive) == {"a", "b"}
    made.decide(25.5)
    assert set(made.fleet.alive) == {"b"}
    made.decide(26.1)
    assert made.fleet.alive == {}


def test_a_successor_goes_on_in_the_middle_of_a_staging():
    """Restored from the compacted log, checkpoints and reports; acknowledgements before and after count alike."""
    before = rollout(workers=("a", "b"))
    log = []
    for version in (1, 2):
        before.on_checkpoint(checkpoint(version))
        log += before.decide(0.0)
        for worker in "ab" if version == 1 else "a":
            before.on_applied(applied(worker, "STAGED", version), 0.0)
        log += before.decide(0.0)
    assert steps(log) == [("STAGE", 1), ("ACTIVATE", 1), ("STAGE", 2)]
    after = Rollout("m", epoch=2, policy=POLICY)
    after.restore(newest(log), 10.0)
    for version in (1, 2):
        after.on_checkpoint(checkpoint(version))
    after.on_applied(applied("a", "STAGED", 2), 9.0)
    after.on_applied(applied("b", "HEARTBEAT", 1), 9.0)
    assert after.decide(10.0) == []
    after.on_applied(applied("b", "STAGED", 2), 11.0)
    (directive,) = after.decide(11.0)
    assert (directive.action, directive.version) == (ACTIVATE, 2)
    assert (directive.coordinator_epoch, directive.sequence) == (2, 4)


def test_a_successor_remembers_a_pin_and_a_refusal():
    """Neither is forgotten in a takeover."""
    before = rollout(workers=("a",), active=3)
    before.on_operation(operation("ROLL_BACK"))
    after = Rollout("m", epoch=2, policy=POLICY)
    after.restore(newest(before.decide(0.0)), 0.0)
    for version in (1, 2, 3):
        after.on_checkpoint(checkpoint(version))
    assert after.decide(0.0) == []
    assert (after.ledger.active.version, after.view.pinned) == (2, True)

    refusing = rollout(workers=("a",), active=1)
    refusing.on_checkpoint(checkpoint(2))
    log = refusing.decide(0.0)
    refusing.on_applied(applied("a", "FAILED", 2), 0.0)
    log += refusing.decide(0.0)
    heir = Rollout("m", epoch=2, policy=POLICY)
    heir.restore(newest(log), 0.0)
    heir.on_checkpoint(checkpoint(1))
    heir.on_checkpoint(checkpoint(2))
    assert steps(heir.decide(0.0)) == [("STAGE", 1), ("ACTIVATE", 1)]


def test_a_successor_keeps_the_version_before_while_a_much_newer_one_is_staged():
    """However many checkpoints came since: an operator can go back to it, and its chunks stay in the stores."""
    made, log = rollout(), []
    for version in (1, 2):
        made.on_checkpoint(checkpoint(version))
        log += made.decide(0.0)
    made.on_applied(applied("a", "JOINED", 2), 0.0)
    for version in range(3, 21):
        made.on_checkpoint(checkpoint(version))
    log += made.decide(0.0)
    assert steps(log)[-1:] == [("STAGE", 20)]
    heir = taken_over(log, 20)
    assert sorted(c.version for c in heir.ledger.kept()) == [1, 2, 17, 18, 19, 20]
    heir.on_applied(applied("a", "HEARTBEAT", 2), 0.0)
    heir.on_operation(operation("ROLL_BACK"))
    assert steps(heir.decide(0.0)) == [("RETIRE", 20), ("ROLL_BACK", 1)]


def test_only_the_versions_that_may_be_served_again_are_kept():
    """The newest few, the active one, and the one before it."""
    made = rollout()
    for version in range(1, 21):
        made.on_checkpoint(checkpoint(version))
        made.decide(0.0)
    assert sorted(c.version for c in made.ledger.kept()) == [17, 18, 19, 20]
    made.on_operation(operation("ROLL_BACK", 17))
    made.decide(0.0)
    for version in range(21, 31):
        made.on_checkpoint(checkpoint(version))
    assert {17, 27, 28, 29, 30} <= {c.version for c in made.ledger.kept()}
