"""The life of a run: which step follows which, and what follows the steps."""

from typing import Any

from headrace.contracts.rule_records import RuleRun, RuleTrigger, RunState, StepState
from headrace.rules import life
from headrace.rules.spec import RuleSpec

CANARY, FULL = {"deploy": {"as": "canary"}}, {"deploy": {"as": "full"}}


def rule(*steps: dict[str, Any], **more: Any) -> RuleSpec:
    asked = {"name": "r", "when": [{"call": True}], "then": [{"alert": {}}], **more}
    return RuleSpec(**asked, steps=steps or ({"train": {}}, FULL))


def begun(*steps: dict[str, Any], **more: Any) -> RuleRun:
    trigger = RuleTrigger(kind="call", what="called", identity="call/1", at_us=1)
    return life.begin_run(rule(*steps, **more), "p", trigger, 10)


def states(run: RuleRun) -> list[tuple[str, str]]:
    return [(step.kind, str(step.state)) for step in run.steps]


def test_a_step_that_is_over_and_the_next_one_begun_are_one_change() -> None:
    run = begun()
    assert states(run) == [("train", "running"), ("deploy", "pending")]
    life.finish(run, 1, {"job": "j"}, 20)
    assert states(run) == [("train", "done"), ("deploy", "running")]
    assert (run.steps[0].ended_us, run.steps[1].started_us, run.steps[1].key) == (20, 20, f"{run.id}/2")


def test_after_the_steps_come_the_notifications_and_then_the_run_is_done() -> None:
    run = begun()
    life.finish(run, 1, {}, 20)
    life.finish(run, 2, {}, 30)
    assert (states(run)[2], run.state, run.outcome) == (("alert", "running"), RunState.RUNNING, RunState.DONE)
    life.finish(run, 3, {}, 40)
    assert (run.state, run.ended_us) == (RunState.DONE, 40)


def test_a_notification_that_fails_does_not_change_the_outcome() -> None:
    run = begun({"train": {}})
    life.finish(run, 1, {}, 20)
    life.fail(run, 2, "nobody answers", 30)
    assert (run.state, run.reason) == (RunState.DONE, "")


def test_a_step_that_fails_skips_the_others_and_the_reason_names_it() -> None:
    run = begun()
    life.fail(run, 1, "no examples", 20)
    assert states(run) == [("train", "failed"), ("deploy", "skipped"), ("alert", "running")]
    assert run.reason == "step 1, train: no examples"
    life.finish(run, 3, {}, 30)
    assert run.state is RunState.FAILED


def test_on_failure_stop_tells_nobody() -> None:
    run = begun(on_failure="stop")
    life.fail(run, 1, "no", 20)
    assert (states(run), run.state) == ([("train", "failed"), ("deploy", "skipped")], RunState.FAILED)


def test_on_failure_roll_back_goes_back_only_from_what_was_deployed() -> None:
    run = begun({"train": {}}, FULL, {"command": {"run": ["x"]}}, on_failure="roll back")
    early = life.copy_of(run)
    life.fail(early, 1, "no", 20)
    assert "roll back" not in [kind for kind, _ in states(early)]
    life.finish(run, 1, {}, 20)
    run.steps[1].phase = {"version": 7, "before": 3}
    life.finish(run, 2, {}, 30)
    life.fail(run, 3, "exit code 1", 40)
    assert states(run)[3:] == [("roll back", "running"), ("alert", "pending")]
    life.fail(run, 4, "no version 3", 50)
    assert run.reason == "step 3, command: exit code 1; roll back: no version 3"


def test_a_canary_never_outlives_its_run_whatever_on_failure_says() -> None:
    run = begun({"train": {}}, CANARY, {"command": {"run": ["x"]}}, FULL, on_failure="stop")
    life.finish(run, 1, {}, 20)
    run.steps[1].phase = {"version": 7, "before": 3}
    life.finish(run, 2, {}, 30)
    life.fail(run, 3, "exit code 1", 40)
    assert states(run)[3:] == [("deploy", "skipped"), ("roll back", "running")]


def test_a_step_that_asks_for_it_waits_for_a_person_who_is_recorded() -> None:
    run = begun({"train": {}, "approve": True})
    assert (run.state, run.steps[0].state, run.steps[0].started_us) == (RunState.WAITING, StepState.APPROVAL, 0)
    assert life.approve(run, "ann", "looks good", 20)
    approval = run.steps[0].approval
    assert approval is not None
    assert (approval.verdict, approval.by, approval.at_us, approval.comment) == ("approved", "ann", 20, "looks good")
    assert (run.state, run.steps[0].state, run.steps[0].started_us) == (RunState.RUNNING, StepState.RUNNING, 20)
    assert not life.approve(run, "ann", "", 30)


def test_rejected_the_run_has_failed() -> None:
    run = begun({"train": {}, "approve": True})
    assert life.reject(run, "bob", "too early", 20)
    assert run.reason == "step 1, train: rejected by bob: too early"
    assert run.outcome is RunState.FAILED


def test_cancelled_in_a_step_or_while_it_waits_the_run_ends_and_its_notifications_follow() -> None:
    for approve in (False, True):
        run = begun({"train": {}, "approve": approve}, {"gate": {"error": 1}})
        assert life.cancel(run, "ann", "", 20)
        assert states(run) == [("train", "cancelled"), ("gate", "skipped"), ("alert", "running")]
        assert not life.cancel(run, "ann", "", 30)
        life.finish(run, 3, {}, 40)
        assert (run.state, run.reason) == (RunState.CANCELLED, "cancelled by ann")


def test_the_same_trigger_has_the_same_run() -> None:
    assert begun().id == begun().id
    assert begun().id != life.run_id("p", "r", "call/2")
