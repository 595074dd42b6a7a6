"""A run from an alert to a version that serves everywhere, through a SIGKILL of the role in each of its steps."""

import sys
from pathlib import Path
from typing import Any

import pytest

from headrace.contracts.events_pb2 import Alert, CheckpointPublished, Operation, RolloutDirective
from headrace.contracts.rule_records import RunState, StepState
from headrace.contracts.topics import ALERTS, CHECKPOINTS, OPERATIONS, ROLLOUTS
from headrace.rollouts.directives import ACTIVATE, CANARY, ROLL_BACK
from tests.integration.ckpt.fleet import Fleet
from tests.integration.rules.rules_kit import Bench, Hook, lines
from tests.patience import wait_for

APPEND = """
import os, pathlib, time
with open({path!r}, "a") as file:
    file.write(os.environ["HEADRACE_RULE_KEY"] + " " + os.environ["HEADRACE_RULE_ATTEMPT"] + "\\n")
time.sleep({seconds})
"""


def command(path: Path, seconds: float = 0.5, **more: Any) -> dict[str, Any]:
    script = APPEND.format(path=str(path), seconds=seconds)
    return {"command": {"run": [sys.executable, "-c", script], **more}}


def rules(bench: Bench) -> list[dict[str, Any]]:
    folder, hook = bench.fleet.folder, bench.hook.url
    train = {"train": {"epochs": 3, "settings": {"learning_rate": 0.02}}}
    return [
        {
            "name": "retrain",
            "when": [{"alert": {"name": "error_*"}}],
            "cooldown_s": 3600,
            "steps": [
                train,
                {"evaluate": {}},
                {"gate": {"champion": 0.9}},
                command(folder / "commands", restart=True),
                {"webhook": {"url": f"{hook}/step"}},
                {"deploy": {"as": "canary", "share": 0.5, "for_s": 1.0}},
                {"deploy": {"as": "full"}},
            ],
            "then": [{"webhook": {"url": f"{hook}/then"}}, {"alert": {"name": "retrained"}}],
            "on_failure": "roll back",
        },
        {
            "name": "too-bad",
            "when": [{"call": True}],
            "steps": [train, {"gate": {"error": 1e-9}}, {"deploy": {"as": "full"}}],
            "then": [{"alert": {}}],
        },
        {
            "name": "cancelled",
            "when": [{"call": True}],
            "steps": [train, {"deploy": {"as": "canary", "share": 0.5, "for_s": 3600}}, {"deploy": {"as": "full"}}],
        },
        {
            "name": "once",
            "when": [{"call": True}],
            "steps": [command(folder / "once", 3600)],
        },
    ]


@pytest.fixture(scope="module")
def bench(shared_fleet: Fleet, shared_hook: Hook) -> Bench:
    made = Bench(shared_fleet, shared_hook, rules)
    made.start_fleet()
    return made


@pytest.mark.timeout(1200)  # ten starts of the role, and three processes that import torch
def test_killed_in_each_step_a_run_goes_on_where_it_was_and_does_nothing_twice(bench: Bench) -> None:
    bench.start()
    bench.hook.hold = True
    bench.alert("error_above_baseline")
    for number in range(1, 10):
        bench.at_step("retrain", number)
        bench.kill()
        bench.hook.hold = number not in (5, 8)  # the webhooks' own steps, which would be over before the kill
        bench.start()
    run = bench.ended("retrain")
    assert (run.state, run.reason) == (RunState.DONE, "")
    assert {step.state for step in run.steps} == {StepState.DONE}
    assert len(bench.runs("retrain")) == 1
    assert [len(bench.jobs(kind)) for kind in ("jobs", "evaluations", "hand-overs")] == [1, 1, 1]
    published = [(event.version, event.held) for event in bench.records(CHECKPOINTS, CheckpointPublished)]
    assert published == [(1, False), (2, True)]
    operations = bench.records(OPERATIONS, Operation)
    assert [(one.kind, one.version, one.canary_share) for one in operations] == [
        (Operation.DEPLOY, 2, 0.5),
        (Operation.DEPLOY, 2, 0.0),
    ]
    acted = [(one.action, one.version) for one in bench.records(ROLLOUTS, RolloutDirective)]
    assert [one for one in acted if one[1] == 2 and one[0] in (CANARY, ACTIVATE)] == [(CANARY, 2), (ACTIVATE, 2)]
    for worker in bench.fleet.locals:
        wait_for(lambda worker=worker: worker.live.version == 2)
    assert set(bench.hook.keys("/step")) == {f"{run.id}/5"}
    assert set(bench.hook.keys("/then")) == {f"{run.id}/8"}
    assert {line.split()[0] for line in lines(bench.fleet.folder / "commands")} == {f"{run.id}/4"}
    told = [alert for alert in bench.records(ALERTS, Alert) if alert.name == "retrained"]
    assert [(alert.firing, alert.severity) for alert in told] == [(False, Alert.WARNING)]


def test_a_trigger_within_the_cooldown_begins_no_run_and_is_counted(bench: Bench) -> None:
    bench.alert("error_above_baseline")
    wait_for(lambda: bench.recorded().memories["retrain"].suppressed == {"cooldown": 1})
    assert len(bench.runs("retrain")) == 1


def test_what_does_not_pass_the_gate_is_not_published_and_an_alert_says_why(bench: Bench) -> None:
    assert bench.ask("POST", "/v1/rules/too-bad/trigger", {"by": "ann"}).status_code == 202
    run = bench.ended("too-bad")
    assert run.state is RunState.FAILED
    assert "at most 1e-09" in run.reason
    assert [step.state for step in run.steps] == [
        StepState.DONE, StepState.FAILED, StepState.SKIPPED, StepState.DONE,
    ]  # fmt: skip
    assert len(bench.records(CHECKPOINTS, CheckpointPublished)) == 2
    told = [alert for alert in bench.records(ALERTS, Alert) if alert.name == "rule"]
    assert [alert.firing for alert in told] == [True]
    assert "at most 1e-09" in told[0].message


def test_a_cancelled_run_takes_its_canary_back_and_what_served_stays(bench: Bench) -> None:
    run = bench.ask("POST", "/v1/rules/cancelled/trigger").json()["id"]
    wait_for(
        lambda: any(one.action == CANARY and one.version == 3 for one in bench.records(ROLLOUTS, RolloutDirective))
    )
    answer = bench.ask("POST", f"/v1/rules/runs/{run}/cancel", {"by": "ann", "comment": "enough"})
    assert answer.status_code == 200
    ended = bench.ended("cancelled")
    assert (ended.state, ended.reason) == (RunState.CANCELLED, "cancelled by ann: enough")
    last = [one for one in bench.records(ROLLOUTS, RolloutDirective) if one.action in (ACTIVATE, ROLL_BACK)][-1]
    assert (last.version, last.pinned) == (2, True)
    for worker in bench.fleet.locals:
        wait_for(lambda worker=worker: worker.live.version == 2)
    assert bench.ask("POST", f"/v1/rules/runs/{run}/cancel", {"by": "ann"}).status_code == 409


def test_a_command_that_the_role_left_is_not_run_again_unless_it_may_be(bench: Bench) -> None:
    bench.ask("POST", "/v1/rules/once/trigger")
    wait_for(lambda: lines(bench.fleet.folder / "once"))
    bench.kill()
    bench.start()
    run = bench.ended("once")
    assert run.steps[0].error == "the role ended while the command ran (restart: false)"
    assert len(lines(bench.fleet.folder / "once")) == 1


def test_a_second_role_takes_over_and_the_first_ends_as_fenced(bench: Bench) -> None:
    first = bench.role
    assert first is not None
    bench.start()
    bench.alert("error_above_baseline", at_us=1)
    assert first.child.wait(120) == 4
    wait_for(lambda: bench.recorded().memories["retrain"].suppressed["cooldown"] == 2)
    assert bench.role is not None
    assert bench.role.stop() == 0
