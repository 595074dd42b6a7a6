"""What a rollout does about operators' requests."""

from headrace.contracts.events_pb2 import Operation
from headrace.rollouts.directives import ACTIVATE, REFUSE, ROLL_BACK
from services.ckpt.coordinator.service import Rollout
from tests.rollout_kit import POLICY, applied, checkpoint, newest, operation, rollout, steps


def test_rolling_back_flips_at_once_pins_and_resuming_goes_to_the_newest():
    """What comes meanwhile is remembered, not rolled out."""
    made = rollout(workers=("a",), active=3)
    made.on_operation(operation("ROLL_BACK"))
    (directive,) = made.decide(0.0)
    assert (directive.action, directive.version, directive.pinned) == (ROLL_BACK, 2, True)
    made.on_checkpoint(checkpoint(4))
    assert steps(made.decide(0.0)) == []
    made.on_operation(operation("ROLL_BACK"))
    assert steps(made.decide(0.0)) == [("STAGE", 1)]
    made.on_applied(applied("a", "STAGED", 1), 0.0)
    assert steps(made.decide(0.0)) == [("ROLL_BACK", 1)]
    made.on_operation(operation("RESUME"))
    resumed = made.decide(0.0)
    assert steps(resumed) == [("ACTIVATE", 1), ("STAGE", 4)]
    assert not resumed[0].pinned


def test_resuming_gives_up_a_roll_back_that_still_waits_for_workers():
    """The later request counts; a successor in the middle would see the same."""
    made = rollout(workers=("a",), active=3)
    made.on_operation(operation("ROLL_BACK"))
    made.decide(0.0)
    made.on_operation(operation("ROLL_BACK", 1))
    assert steps(made.decide(0.0)) == [("STAGE", 1)]
    made.on_operation(operation("RESUME"))
    assert steps(made.decide(0.0)) == [("RETIRE", 1), ("ACTIVATE", 2), ("STAGE", 3)]
    made.on_applied(applied("a", "STAGED", 1), 1.0)
    assert made.decide(1.0) == []
    assert (made.view.active_version, made.view.pinned) == (2, False)


def test_rolling_back_gives_up_what_is_being_staged_but_does_not_hold_it_against_it():
    """After resuming it comes again."""
    made = rollout(workers=("a",), active=3)
    made.on_checkpoint(checkpoint(4))
    made.decide(0.0)
    made.on_operation(operation("ROLL_BACK", 3))
    assert steps(made.decide(0.0)) == [("RETIRE", 4), ("ROLL_BACK", 3)]
    made.on_operation(operation("RESUME"))
    assert steps(made.decide(0.0)) == [("ACTIVATE", 3), ("STAGE", 4)]


def refusals(made: Rollout, *requests: Operation) -> dict[str, str]:
    """Ask for what cannot be done; the reasons, by request."""
    for request in requests:
        made.on_operation(request)
    directives = made.decide(0.0)
    assert {d.action for d in directives} == {REFUSE}
    assert {d.manifest_digest for d in directives} == {""}
    return {d.operation_id: d.reason for d in directives}


def test_operations_that_cannot_be_done_are_refused_with_the_reason_and_change_nothing():
    """Versions to come, versions that are not kept, resuming what is not pinned, requests of a later release."""
    made = rollout(active=9)
    why = refusals(
        made, operation("ROLL_BACK", 77, "new"), operation("ROLL_BACK", 2, "old"), operation("RESUME", 0, "go"),
        operation("KIND_UNSPECIFIED", 0, "what"),
    )  # fmt: skip
    assert why["new"] == "version 77 is newer than the active 9: there is nothing to roll back to"
    assert why["old"] == "version 2 is not kept any more, or never was: kept are 7, 8"
    assert "nothing is pinned" in why["go"]
    assert "no such request" in why["what"]
    assert (made.ledger.active.version, made.view.pinned, made.staging) == (9, False, None)
    assert made.decide(0.0) == []


def test_rolling_back_where_there_is_nothing_older_is_refused():
    """The only version, and no version at all."""
    only = rollout()
    only.on_checkpoint(checkpoint(1))
    only.decide(0.0)
    assert refusals(only, operation("ROLL_BACK", 0, "r")) == {"r": "none older than the active 1 is kept"}
    assert refusals(rollout(), operation("ROLL_BACK", 0, "r")) == {"r": "no version is rolled out yet"}


def test_a_refusal_in_the_middle_of_a_staging_does_not_disturb_it_nor_a_successor():
    """It has a key of its own in the compacted log."""
    made = rollout(workers=("a",), active=1)
    made.on_checkpoint(checkpoint(2))
    log = made.decide(0.0)
    made.on_operation(operation("ROLL_BACK", 77, "x"))
    log += made.decide(0.0)
    assert steps(log) == [("STAGE", 2), ("REFUSE", 77)]
    heir = Rollout("m", epoch=2, policy=POLICY)
    heir.restore(newest(log), 0.0)
    heir.on_applied(applied("a", "STAGED", 2), 0.0)
    (directive,) = heir.decide(0.0)
    assert (directive.action, directive.version, directive.sequence) == (ACTIVATE, 2, log[-1].sequence + 1)


def test_no_operation_is_done_twice():
    """The same request read again does nothing."""
    made = rollout(active=3)
    for _ in range(2):
        made.on_operation(operation("ROLL_BACK", 0, "same"))
    assert steps(made.decide(0.0)) == [("ROLL_BACK", 2)]
