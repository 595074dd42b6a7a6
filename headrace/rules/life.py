"""The life of a run: no client library, no clock, no threads.

    a trigger ──▶ steps, one after the other ──▶ then, one after the other ──▶ done
    a step that asks for it waits until a person approves; rejected, it has failed
    a step fails, or the run is cancelled ──▶ the other steps are skipped ──▶ on failure ──▶ then ──▶ failed, cancelled

What follows the steps never changes their outcome. Each function changes the run to what is to be recorded next: "this
step is over" and "that one has begun" are one record.
"""

import hashlib

import msgspec
from pydantic import BaseModel

from headrace.contracts.rule_records import Approval, RuleRun, RuleStep, RuleTrigger, RunState, StepState
from headrace.rules.spec import RuleSpec

STEPS, ON_FAILURE, THEN = "steps", "on failure", "then"
ROLL_BACK = "roll back"
NOTICE_S = 600.0
"""After so many seconds a notification has failed."""
ROLL_BACK_S = 600.0


def run_id(pipeline: str, rule: str, identity: str) -> str:
    """The id of the run that a trigger begins: the same trigger can begin no second one."""
    return hashlib.blake2b(f"{pipeline}/{rule}/{identity}".encode(), digest_size=12).hexdigest()


def begin_run(rule: RuleSpec, pipeline: str, trigger: RuleTrigger, now_us: int) -> RuleRun:
    """A run whose first step has begun."""
    run = RuleRun(
        id=run_id(pipeline, rule.name, trigger.identity),
        pipeline=pipeline,
        rule=rule.name,
        trigger=trigger,
        started_us=now_us,
        steps=[],
        then=[{"kind": one.kind, "spec": plain(getattr(one, one.kind))} for one in rule.then],
        on_failure=rule.on_failure,
    )
    for step in rule.steps:
        added = _add(run, STEPS, step.kind, plain(getattr(step, step.kind)), step.timeout_s)
        added.name, added.approve = step.name, step.approve
    _go_on(run, now_us)
    return run


def plain(section: BaseModel) -> dict[str, object]:
    """A section as it is kept: JSON's types, names as in pipeline.yaml."""
    return section.model_dump(mode="json", by_alias=True)


def current(run: RuleRun) -> RuleStep | None:
    """The step that runs or waits; None before the first and after the last."""
    return next((step for step in run.steps if not step.state.over), None)


def finish(run: RuleRun, number: int, result: dict[str, object], now_us: int) -> None:
    """A step is done; the next one begins."""
    step = run.steps[number - 1]
    step.state, step.result, step.ended_us = StepState.DONE, result, now_us
    _go_on(run, now_us)


def fail(run: RuleRun, number: int, error: str, now_us: int) -> None:
    """A step has failed. One of the steps ends the run; what follows them goes on."""
    step = run.steps[number - 1]
    step.state, step.error, step.ended_us = StepState.FAILED, error, now_us
    if step.part == STEPS:
        _end_steps(run, RunState.FAILED, f"step {number}, {step.name or step.kind}: {error}")
    elif step.part == ON_FAILURE:
        run.reason = f"{run.reason}; {step.kind}: {error}"
    _go_on(run, now_us)


def approve(run: RuleRun, by: str, comment: str, now_us: int) -> bool:
    """A person approves the step that waits, which begins; False where none waits."""
    step = current(run)
    if step is None or step.state is not StepState.APPROVAL:
        return False
    step.approval = Approval(verdict="approved", by=by, at_us=now_us, comment=comment)
    step.state, run.state, step.started_us, run.changed_us = StepState.RUNNING, RunState.RUNNING, now_us, now_us
    return True


def reject(run: RuleRun, by: str, comment: str, now_us: int) -> bool:
    """A person rejects the step that waits, which has failed; False where none waits."""
    step = current(run)
    if step is None or step.state is not StepState.APPROVAL:
        return False
    step.approval = Approval(verdict="rejected", by=by, at_us=now_us, comment=comment)
    fail(run, step.number, f"rejected by {by}{': ' + comment if comment else ''}", now_us)
    return True


def cancel(run: RuleRun, by: str, comment: str, now_us: int) -> bool:
    """A person cancels a run whose steps are not over; False where they are."""
    step = current(run)
    if step is None or run.outcome is not None:
        return False
    step.state, step.ended_us, run.cancelled_by = StepState.CANCELLED, now_us, by
    _end_steps(run, RunState.CANCELLED, f"cancelled by {by}{': ' + comment if comment else ''}")
    _go_on(run, now_us)
    return True


def deployed(run: RuleRun) -> RuleStep | None:
    """The last step that gave the fleet another version, or has asked for it; None if none has."""
    steps = (s for s in reversed(run.steps) if s.kind == "deploy" and s.spec["as"] != "shadow")
    return next((step for step in steps if step.phase.get("version")), None)


def _on_canaries(run: RuleRun) -> bool:
    """Whether this run has left a version on canaries: a canary never outlives its run."""
    last = deployed(run)
    return last is not None and (last.spec["as"] == "canary" or last.state is not StepState.DONE)


def _end_steps(run: RuleRun, outcome: RunState, reason: str) -> None:
    run.outcome, run.reason = outcome, reason
    for step in run.steps:
        if step.state is StepState.PENDING:
            step.state = StepState.SKIPPED
    if (run.on_failure == ROLL_BACK and deployed(run) is not None) or _on_canaries(run):
        _add(run, ON_FAILURE, ROLL_BACK, {}, ROLL_BACK_S)
    if run.on_failure != "stop":
        _add_then(run)


def _add_then(run: RuleRun) -> None:
    for notice in run.then:
        _add(run, THEN, notice["kind"], notice["spec"], NOTICE_S)


def _go_on(run: RuleRun, now_us: int) -> None:
    """Begin the next step, or end the run."""
    run.changed_us = now_us
    following = next((step for step in run.steps if step.state is StepState.PENDING), None)
    if following is None and run.outcome is None:
        run.outcome = RunState.DONE
        _add_then(run)
        following = next((step for step in run.steps if step.state is StepState.PENDING), None)
    if following is None:
        run.state, run.ended_us = run.outcome or RunState.DONE, now_us
        return
    waits = following.approve and following.approval is None
    following.state = StepState.APPROVAL if waits else StepState.RUNNING
    following.started_us = 0 if waits else now_us
    run.state = RunState.WAITING if waits else RunState.RUNNING


def _add(run: RuleRun, part: str, kind: str, spec: dict[str, object], timeout_s: float) -> RuleStep:
    number = len(run.steps) + 1
    key = f"{run.id}/{number}"
    step = RuleStep(number=number, part=part, kind=kind, name="", spec=spec, key=key, timeout_s=timeout_s)
    run.steps.append(step)
    return step


def copy_of(run: RuleRun) -> RuleRun:
    """A copy that shares nothing, to be changed and recorded before it takes the run's place."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(run), type=RuleRun)
