"""Runs as a role does them, over twins: every step once, through crashes at every record; persons and call-backs."""

import asyncio
from typing import Any

import pytest

from headrace.contracts.events_pb2 import Alert, DatasetVersion, Operation
from headrace.contracts.rule_records import RuleRun, RunState
from headrace.rules.effects.port import StepFailed
from headrace.rules.effects.training import POLL_S
from headrace.runtime.errors import DependencyError, FencedError
from services.rules.errors import ConflictError, UnknownError
from services.rules.service import Rules
from tests.patience import eventually
from tests.unit.rules.world_kit import Stage

TRAIN, FULL = {"train": {"epochs": 2}}, {"deploy": {"as": "full"}}
CANARY = {"deploy": {"as": "canary", "share": 0.2}}
WHOLE = (
    {"tune": {"space": ["learning_rate=0.1..1"]}}, {"train": {"tuned": True}}, {"evaluate": {}},
    {"gate": {"champion": 0.9, "baseline": 1, "at_most": {"rmse": 1}}}, {"command": {"run": ["x"], "restart": True}},
    {"webhook": {"url": "http://a/b"}}, CANARY, FULL,
)  # fmt: skip
THEN = [{"webhook": {"url": "http://a/then"}}, {"alert": {"name": "retrained"}}]


async def ended(rules: Rules, run_id: str) -> RuleRun:
    await eventually(lambda: rules.failure.done() or rules.run(run_id).state.over)
    return rules.run(run_id)


async def begun(rules: Rules, key: str = "k") -> str:
    run, _ = await rules.trigger("r", key, "ann", {"ticket": 1})
    return run.id


async def test_a_run_does_its_steps_in_order_and_then_tells() -> None:
    stage = Stage(*WHOLE, then=THEN)
    rules = stage.role()
    run = await ended(rules, await begun(rules))
    assert (run.state, run.reason) == (RunState.DONE, "")
    assert [job["request"].get("settings") for job in stage.jobs.submitted.values() if job["kind"] == "jobs"] == [
        {"schedule": {"start": 2.0}}
    ]
    assert [(one.kind, one.version, round(one.canary_share, 1)) for one in stage.log.operations] == [
        (Operation.DEPLOY, 4, 0.2),
        (Operation.DEPLOY, 4, 0.0),
    ]
    assert [url for url, *_ in stage.web.posts] == ["http://a/b", "http://a/then"]
    (told,) = stage.log.alerts
    assert (told.name, told.firing, told.id) == ("retrained", False, "p/rule/r")
    await rules.close()


async def test_a_role_that_dies_at_any_record_leaves_a_run_that_the_next_role_ends_with_nothing_done_twice() -> None:
    """Both before and after each record, since a record is there or is not."""
    stage = Stage(*WHOLE, then=THEN)
    rules = stage.role()
    run = await ended(rules, await begun(rules))
    records = len(stage.log.history)
    assert records > len(run.steps) * 2
    for last in range(1, records):
        await _dies_after(last)


async def _dies_after(last: int) -> None:
    stage = Stage(*WHOLE, then=THEN)
    first = stage.role()
    write, count = first._log.write, 0

    def dying(*arguments: Any) -> None:
        nonlocal count
        if count >= last:
            raise DependencyError("the process is gone")
        count += 1
        write(*arguments)

    first._log.write = dying  # type: ignore[method-assign]
    run_id = await begun(first)
    await eventually(first.failure.done)
    await first.close()
    first.failure.exception()
    second = stage.role()
    run = await ended(second, run_id)
    assert (run.state, run.reason, last) == (RunState.DONE, "", last)
    kinds = sorted(job["kind"] for job in stage.jobs.submitted.values())
    assert kinds == ["evaluations", "hand-overs", "jobs", "studies"]
    assert [one.canary_share > 0 for one in stage.log.operations] == [True, False]
    assert len(stage.log.alerts) == 1
    for url in ("http://a/b", "http://a/then"):
        assert len({headers["Idempotency-Key"] for where, _, headers in stage.web.posts if where == url}) == 1
    assert {env["HEADRACE_RULE_KEY"] for _, env in stage.programs.ran} == {f"{run_id}/5"}
    await second.close()


async def test_a_fenced_role_records_nothing_more_and_says_so() -> None:
    stage = Stage(TRAIN)
    stage.jobs.let = False
    first = stage.role()
    run_id = await begun(first)
    second = stage.role()
    stage.jobs.let = True
    with pytest.raises(FencedError):
        await first.failure
    assert (await ended(second, run_id)).state is RunState.DONE
    await asyncio.gather(first.close(), second.close())


async def test_what_does_not_pass_the_gate_is_not_published() -> None:
    stage = Stage(TRAIN, {"evaluate": {}}, {"gate": {"champion": 0.4}}, FULL, then=THEN, on_failure="roll back")
    rules = stage.role()
    run = await ended(rules, await begun(rules))
    assert run.state is RunState.FAILED
    assert run.reason == "step 3, gate: error 0.5, at most 0.4 × version 3's 1"
    assert stage.log.operations == []
    assert [alert.firing for alert in stage.log.alerts] == [True]
    await rules.close()


async def test_a_canary_that_is_given_up_fails_the_run_which_goes_back_to_what_served() -> None:
    stage = Stage(TRAIN, CANARY, FULL, on_failure="roll back")
    rules = stage.role()
    stage.fleet.answering = False
    run_id = await begun(rules)
    await eventually(lambda: stage.log.operations)
    stage.fleet.bad[stage.log.operations[0].id] = "version_worse: far off"
    stage.fleet.answering = True
    run = await ended(rules, run_id)
    assert run.reason == "step 2, deploy: version 4: version_worse: far off"
    back = stage.log.operations[-1]
    assert (back.kind, back.version, back.requested_by) == (Operation.ROLL_BACK, 3, "rule r")
    await rules.close()


async def test_a_step_waits_for_a_person_over_a_restart() -> None:
    stage = Stage(TRAIN, {**FULL, "approve": True})
    first = stage.role()
    run_id = await begun(first)
    await eventually(lambda: first.run(run_id).state is RunState.WAITING)
    await first.close()
    second = stage.role()
    assert stage.log.operations == []
    await second.approve(run_id, "bob", "go")
    run = await ended(second, run_id)
    assert (run.state, run.steps[1].approval.by) == (RunState.DONE, "bob")  # type: ignore[union-attr]
    with pytest.raises(ConflictError, match="no step of run"):
        await second.approve(run_id, "bob", "")
    with pytest.raises(UnknownError):
        await second.approve("none", "bob", "")
    await second.close()


async def test_cancelled_in_a_job_the_job_is_cancelled_too() -> None:
    stage = Stage(TRAIN, FULL)
    stage.jobs.let = False
    rules = stage.role()
    run_id = await begun(rules)
    await eventually(lambda: rules.run(run_id).steps[0].phase)
    await rules.cancel(run_id, "ann", "")
    run = await ended(rules, run_id)
    assert (run.state, stage.jobs.cancelled) == (RunState.CANCELLED, ["jobs-1"])
    await rules.close()


async def test_a_role_that_dies_while_it_cancels_has_the_next_one_cancel() -> None:
    stage = Stage(TRAIN, FULL)
    stage.jobs.let = False
    first = stage.role()
    run_id = await begun(first)
    await eventually(lambda: first.run(run_id).steps[0].phase)
    await first._change(run_id, lambda run: setattr(run, "cancelled_by", "ann"))
    await first.close()
    second = stage.role()
    assert (await ended(second, run_id)).reason == "cancelled by ann"
    await second.close()


async def test_a_command_that_a_role_left_is_run_again_only_where_it_may_be() -> None:
    for restart, state, ran in ((False, RunState.FAILED, 1), (True, RunState.DONE, 2)):
        stage = Stage({"command": {"run": ["x"], "restart": restart}})
        stage.programs.let.clear()
        first = stage.role()
        run_id = await begun(first)
        await eventually(lambda stage=stage: stage.programs.ran)
        await first.close()
        assert stage.programs.stopped == 1
        stage.programs.let.set()
        second = stage.role()
        run = await ended(second, run_id)
        assert (run.state, len(stage.programs.ran)) == (state, ran)
        await second.close()


async def test_a_webhook_may_wait_for_a_call_back_that_is_taken_once() -> None:
    stage = Stage({"webhook": {"url": "http://airflow/dag", "wait": True, "details": {"dag": "x"}}}, {"train": {}})
    rules = stage.role()
    run_id = await begun(rules)
    await eventually(lambda: stage.web.posts)
    _, body, headers = stage.web.posts[0]
    assert (body["callback"]["token"], body["details"]) == (f"token of {run_id}/1", {"dag": "x"})
    assert (headers["Idempotency-Key"], body["trigger"]["details"]) == (f"{run_id}/1", {"ticket": 1})
    said = {"state": "done", "result": {"rows": 5}, "error": ""}
    await rules.called_back(run_id, 1, said)
    run = await ended(rules, run_id)
    assert run.steps[0].result == {"status": 200, "rows": 5}
    await rules.called_back(run_id, 1, said)
    with pytest.raises(ConflictError):
        await rules.called_back(run_id, 1, {**said, "state": "failed"})
    with pytest.raises(UnknownError):
        await rules.called_back(run_id, 2, said)
    await rules.close()


async def test_a_call_back_may_say_that_it_failed_and_a_webhook_may_be_refused() -> None:
    stage = Stage({"webhook": {"url": "http://a", "wait": True}})
    rules = stage.role()
    run_id = await begun(rules)
    await rules.called_back(run_id, 1, {"state": "failed", "result": {}, "error": "disk full"})
    assert (await ended(rules, run_id)).reason == "step 1, webhook: disk full"
    stage.web.refusing = StepFailed("http://a answers 403: no")
    assert (await ended(rules, await begun(rules, "other"))).reason == "step 1, webhook: http://a answers 403: no"
    await rules.close()


async def test_a_header_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_TOKEN", "s3cret")
    stage = Stage({"webhook": {"url": "http://a", "headers": {"Authorization": "Bearer $HOOK_TOKEN"}}})
    rules = stage.role()
    await ended(rules, await begun(rules))
    assert stage.web.posts[0][2]["Authorization"] == "Bearer s3cret"
    assert b"s3cret" not in b"".join(stage.log.values.values())
    await rules.close()


async def test_a_step_that_takes_too_long_has_failed_and_its_job_is_cancelled() -> None:
    stage = Stage({**TRAIN, "timeout_s": POLL_S / 10})
    stage.jobs.let = False
    rules = stage.role()
    run = await ended(rules, await begun(rules))
    assert (run.reason, stage.jobs.cancelled) == ("step 1, train: not done within 0.05 s", ["jobs-1"])
    await rules.close()


async def test_the_same_call_is_the_same_run_and_limits_hold() -> None:
    stage = Stage(TRAIN, cooldown_s=3600)
    stage.jobs.let = False
    rules = stage.role()
    run, new = await rules.trigger("r", "one", "ann", {})
    again, newer = await rules.trigger("r", "one", "ann", {})
    assert (run.id, new, newer) == (again.id, True, False)
    with pytest.raises(ConflictError, match="at_most: 1"):
        await rules.trigger("r", "two", "ann", {})
    stage.jobs.let = True
    await ended(rules, run.id)
    with pytest.raises(ConflictError, match="cooldown of 3600 s"):
        await rules.trigger("r", "three", "ann", {})
    assert rules.memories["r"].suppressed == {"busy": 1, "cooldown": 1}
    with pytest.raises(UnknownError, match="there are r"):
        await rules.trigger("x", "", "", {})
    await rules.close()


async def test_records_begin_runs_and_the_position_behind_them_is_in_the_same_record() -> None:
    stage = Stage({"gate": {"error": 1}}, when=[{"alert": {}}])
    rules = stage.role()
    alert = Alert(id="p/x", model="p", name="x", severity=Alert.WARNING, firing=True, at_us=7)
    positions = {"headrace.alerts": {0: 5}}
    await rules.on_records([(alert, 9), (alert, 9)], positions)
    (run,) = rules.runs.values()
    assert run.trigger.identity == "alert/p/x/7"
    assert rules.memories["r"].suppressed == {"duplicate": 1}
    assert b'"5"' not in stage.log.values["positions"]
    assert b'{"0":5}' in stage.log.values["positions"]
    await rules.close()


async def test_old_runs_go_and_those_that_are_not_over_stay() -> None:
    stage = Stage({"gate": {"error": 1}})
    rules = stage.role(keep=2)
    runs = [(await ended(rules, await begun(rules, str(key)))).id for key in range(4)]
    assert list(rules.runs) == runs[2:]
    assert sorted(key for key in stage.log.values if key.startswith("run/")) == sorted(f"run/{run}" for run in runs[2:])
    await rules.close()


async def test_whoever_follows_sees_each_change_to_the_end() -> None:
    stage = Stage(TRAIN, {**FULL, "approve": True})
    rules = stage.role()
    run_id = await begun(rules)
    seen = []
    async for shown in rules.follow(run_id):
        seen.append(shown["state"])
        if shown["state"] == "waiting" and seen.count("waiting") == 1:
            await rules.approve(run_id, "ann", "")
    assert (seen[0], "waiting" in seen, seen[-1]) == ("running", True, "done")
    await rules.close()


async def test_a_shadow_gets_the_weights_without_a_request_and_serves_for_a_while() -> None:
    stage = Stage(TRAIN, {"deploy": {"as": "shadow", "model": "twin"}}, {"gate": {"error": 1}})
    rules = stage.role()
    run_id = await begun(rules)
    await eventually(lambda: "shadow" in rules.run(run_id).steps[1].phase)
    assert rules.run(run_id).steps[1].state == "running"
    stage.fleet.serves["p.twin"] = 4
    run = await ended(rules, run_id)
    assert (run.state, run.steps[1].result) == (RunState.DONE, {"model": "p.twin", "version": 4})
    asked = next(job["request"] for job in stage.jobs.submitted.values() if job["kind"] == "hand-overs")
    assert (asked["model"], asked["held"]) == ("twin", False)
    assert stage.log.operations == []
    await rules.close()


async def test_an_answer_that_compaction_took_is_known_by_a_newer_version_that_serves() -> None:
    stage = Stage(TRAIN, FULL)
    stage.fleet.answering = False
    rules = stage.role()
    run_id = await begun(rules)
    await eventually(lambda: stage.log.operations)
    stage.fleet.serves["p"] = 9
    run = await ended(rules, run_id)
    assert run.steps[1].result["said"] == "a newer version serves by now"
    await rules.close()


async def test_where_no_version_served_before_there_is_nothing_to_go_back_to() -> None:
    stage = Stage(TRAIN, FULL, {"gate": {"error": 1e-9}}, on_failure="roll back")
    stage.fleet.serves = {}
    rules = stage.role()
    run = await ended(rules, await begun(rules))
    assert (run.state, [one.kind for one in stage.log.operations]) == (RunState.FAILED, [Operation.DEPLOY])
    assert "nothing" in run.steps[3].result
    await rules.close()


async def test_what_serves_before_the_first_deployment_of_a_run_is_what_it_goes_back_to() -> None:
    stage = Stage(TRAIN, CANARY, FULL, {"command": {"run": ["x"]}}, on_failure="roll back")
    stage.programs.code = 3
    rules = stage.role()
    run = await ended(rules, await begun(rules))
    assert run.reason == "step 4, command: x ended with exit code 3: said"
    assert [(one.kind, one.version) for one in stage.log.operations] == [
        (Operation.DEPLOY, 4), (Operation.DEPLOY, 4), (Operation.ROLL_BACK, 3),
    ]  # fmt: skip
    await rules.close()


async def test_the_error_the_labels_and_the_clock_begin_runs_whose_memory_survives() -> None:
    stage = Stage({"gate": {"error": 1}}, when=[{"error": {"above": 5}}, {"labels": 10}])
    first = stage.role()
    await first.on_figures(100, {"": 6.0})
    await eventually(lambda: all(run.state.over for run in first.runs.values()))
    assert [run.trigger.kind for run in first.runs.values()] == ["error"]
    await first.close()
    second = stage.role()
    await second.on_figures(110, {"": 7.0})
    assert [run.trigger.kind for run in second.runs.values()] == ["error", "labels"]
    await second.close()


async def test_a_new_data_set_is_trained_on_and_what_it_is_compared_on_may_be_another() -> None:
    fixed, triggering = {"datasets": ["rides-test@1"]}, {"datasets": ["trigger"]}
    steps = ({"train": {"data": triggering}}, {"evaluate": {"data": fixed}})
    stage = Stage(*steps, when=[{"dataset": {"name": "rides"}}])
    rules = stage.role()
    await rules.on_records([(DatasetVersion(name="rides", version=7), 9)], {})
    (run,) = rules.runs.values()
    assert (await ended(rules, run.id)).state is RunState.DONE
    trained, compared = (job["request"] for job in stage.jobs.submitted.values())
    assert (trained["data"], trained["datasets"]) == ("datasets", ["rides@7"])
    assert (compared["on"]["datasets"], compared["job"]) == (["rides-test@1"], "jobs-1")
    failed = await ended(rules, await begun(rules))
    assert "no data set began the run" in failed.reason
    await rules.close()
