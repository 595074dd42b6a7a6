"""`headrace rules`, against a role on real Kafka: persons, calls, call-backs, and a rule on past events."""

import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner, Result

from headrace.cli.catalogue import application
from headrace.contracts.rule_records import RunState
from headrace.contracts.topics import LABELS
from tests.integration.ckpt.fleet import Fleet
from tests.integration.rules.rules_kit import Bench, Hook
from tests.patience import WAIT_S, wait_for


def rules(bench: Bench) -> list[dict[str, Any]]:
    hook = bench.hook.url
    return [
        {
            "name": "asks",
            "when": [{"call": True}],
            "steps": [{"command": {"run": [sys.executable, "-c", "print('did it')"]}, "approve": True}],
        },
        {
            "name": "dag",
            "when": [{"call": True}],
            "steps": [{"webhook": {"url": f"{hook}/dag", "wait": True}}],
        },
        {"name": "labelled", "when": [{"labels": 10}], "steps": [{"webhook": {"url": f"{hook}/labelled"}}]},
        {
            "name": "alerted",
            "when": [{"alert": {"name": "drift*"}}, {"schedule": {"cron": "* * * * *"}}, {"error": {"above": 1}}],
            "cooldown_s": 3600,
            "steps": [{"webhook": {"url": f"{hook}/alerted"}}],
        },
    ]


@pytest.fixture(scope="module")
def bench(shared_fleet: Fleet, shared_hook: Hook) -> Iterator[Bench]:
    made = Bench(shared_fleet, shared_hook, rules)
    made.start()
    yield made
    assert made.role is not None
    assert made.role.stop() == 0


def command(bench: Bench, *arguments: str) -> Result:
    return CliRunner().invoke(application(), ["rules", *arguments, "--url", bench.url])


def begin(bench: Bench, rule: str, **more: str) -> str:
    options = [f"--{name}={value}" for name, value in more.items()]
    begun = command(bench, "trigger", rule, "--by", "ann", *options)
    assert begun.exit_code == 0, begun.output
    runs = json.loads(command(bench, "runs", rule, "--json").stdout)
    return str(runs[0]["id"])


def test_a_run_waits_for_a_person_and_the_command_shows_who_approved(bench: Bench) -> None:
    run = begin(bench, "asks")
    wait_for(lambda: bench.runs("asks")[0].state is RunState.WAITING)
    assert "waiting" in command(bench, "list").output
    approved = command(bench, "approve", run[:8], "--by", "bob", "--comment", "go on")
    assert approved.exit_code == 0, approved.output
    followed = command(bench, "follow", run)
    assert followed.exit_code == 0
    shown = command(bench, "show", run).output
    assert "approved by bob" in shown
    assert "go on" in shown
    assert "did it" in shown
    again = command(bench, "approve", run)
    assert again.exit_code != 0


def test_rejected_or_cancelled_a_run_ends_and_following_it_says_so(bench: Bench) -> None:
    for what, state in (("reject", "failed"), ("cancel", "cancelled")):
        run = begin(bench, "asks", key=what)
        wait_for(lambda run=run: bench.recorded().runs[run].state is RunState.WAITING)
        assert command(bench, what, run, "--by", "bob").exit_code == 0
        followed = command(bench, "follow", run)
        assert followed.exit_code == 1
        assert f"{state}  " in followed.output


def test_a_webhook_that_waits_takes_a_call_back_with_its_token_alone(bench: Bench) -> None:
    run = begin(bench, "dag", details='{"day": 3}')
    wait_for(lambda: bench.hook.keys("/dag"))
    body = next(body for path, _, body in bench.hook.posts if path == "/dag")
    assert body["trigger"]["details"] == {"day": 3}
    url, token = body["callback"]["url"], body["callback"]["token"]
    said = {"state": "done", "result": {"rows": 5}}
    for wrong in ("", "Bearer x"):
        assert httpx.post(url, json=said, headers={"Authorization": wrong}, timeout=WAIT_S).status_code == 403
    bench.kill()
    bench.start()
    url = f"{bench.url}/v1/rules/runs/{run}/steps/1/done"
    answer = httpx.post(url, json=said, headers={"Authorization": f"Bearer {token}"}, timeout=WAIT_S)
    assert answer.status_code == 200, answer.text
    assert bench.ended("dag").steps[0].result == {"status": 200, "rows": 5}
    assert len(set(bench.hook.keys("/dag"))) == 1


def test_new_labels_begin_a_run(bench: Bench) -> None:
    wait_for(lambda: "labelled" in bench.recorded().memories)
    for i in range(12):
        bench.fleet.producer.produce(LABELS.name(bench.pipeline), b"{}", partition=i % 2)
    bench.fleet.producer.flush(WAIT_S)
    run = bench.ended("labelled")
    assert (run.state, run.trigger.what) == (RunState.DONE, "12 new labels")


def test_a_rule_on_past_events_says_when_it_would_have_begun_runs_and_does_nothing(bench: Bench) -> None:
    before = len(bench.hook.keys("/alerted"))
    since = time.time()
    bench.alert("drift_distance")
    bench.alert("error_above_baseline")
    bench.alert("drift_volume")
    runs = len(bench.recorded().runs)
    moment = datetime.fromtimestamp(since - 1, UTC).isoformat()
    options = ["--from", moment, "--to", datetime.fromtimestamp(since + 3600, UTC).isoformat(), "--json"]
    kafka = ["--kafka", bench.fleet.settings.kafka_bootstrap_servers]
    ran = CliRunner().invoke(application(), ["rules", "test", "alerted", str(bench.folder), *options, *kafka])
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    alerts = [(one["details"]["name"], one["verdict"]) for one in found if one["kind"] == "alert"]
    assert sorted(name for name, _ in alerts) == ["drift_distance", "drift_volume"]
    assert len([one for one in found if one["kind"] == "schedule"]) in (59, 60, 61)
    assert [one["verdict"] for one in found].count("admitted") == 1
    table = CliRunner().invoke(application(), ["rules", "test", "alerted", str(bench.folder), *options[:4], *kafka])
    assert "Conditions on the error are not part of this" in table.output
    assert f"webhook {bench.hook.url}/alerted" in table.output
    assert len(bench.recorded().runs) - runs <= 1  # the role itself began one, of the alerts or the minute
    assert len(bench.hook.keys("/alerted")) - before <= 1


def test_checking_names_the_line_and_says_each_rule_in_words(bench: Bench, tmp_path: Path) -> None:
    fine = CliRunner().invoke(application(), ["rules", "check", str(bench.folder)])
    assert "4 rules, nothing wrong" in fine.output
    assert "12 new labels" not in fine.output
    assert "when     10 new labels" in fine.output
    spec = yaml.safe_load((bench.folder / "pipeline.yaml").read_text())
    spec["rules"][1]["steps"] = [{"optimize": {"bits": 8}}]
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(spec))
    wrong = CliRunner().invoke(application(), ["rules", "check", str(tmp_path)])
    assert wrong.exit_code == 2
    assert "rules.1.steps.0.optimize: optimize: Headrace has no optimizer yet" in wrong.output
