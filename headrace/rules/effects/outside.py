"""command, webhook and alert: what reaches beyond Headrace."""

import asyncio
import os
import re
from collections.abc import Mapping
from typing import Any

from headrace.contracts.events_pb2 import Alert
from headrace.contracts.rule_records import RuleRun, RunState
from headrace.rules.effects.port import StepContext, StepFailed, World
from headrace.rules.triggers import OF_RULES

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_SEVERITIES = {"info": Alert.INFO, "warning": Alert.WARNING}


async def command(ctx: StepContext, world: World) -> dict[str, Any]:
    """Run a program: record that it begins, run it, and its end is recorded with the step.

    It dies with this process. Where a process before this one had recorded the beginning, the program may have run in
    part or as a whole: `restart` says whether it is run again or the step has failed.
    """
    spec, attempt = ctx.step.spec, ctx.phase.get("attempt", 0) + 1
    if attempt > 1 and not spec["restart"]:
        raise StepFailed("the role ended while the command ran (restart: false)")
    await ctx.record({"attempt": attempt, "began_us": ctx.now_us()})
    log = f"{ctx.run.id}-{ctx.step.number}.log"
    env = {
        **spec["env"],
        "HEADRACE_RULE": ctx.run.rule, "HEADRACE_RULE_RUN": ctx.run.id, "HEADRACE_RULE_STEP": str(ctx.step.number),
        "HEADRACE_RULE_KEY": ctx.step.key, "HEADRACE_RULE_ATTEMPT": str(attempt),
    }  # fmt: skip
    code = await world.programs.run(tuple(spec["run"]), env, log)
    if code:
        raise StepFailed(f"{spec['run'][0]} ended with exit code {code}: {world.programs.tail(log) or 'no output'}")
    return {"code": code, "attempt": attempt, "output": world.programs.tail(log)}


async def webhook(ctx: StepContext, world: World) -> dict[str, Any]:
    """POST, under the step's key; and where it says `wait`, wait until somebody calls back.

    If this process dies between sending and recording, it is sent again with the same key.
    """
    spec = ctx.step.spec
    if not ctx.phase.get("sent_us"):
        body = {**summary(ctx.run), "step": ctx.step.number, "key": ctx.step.key, "details": spec["details"]}
        if spec["wait"]:
            url, token = world.web.callback(ctx.step.key)
            body["callback"] = {"url": url, "token": token}
        headers = {"Idempotency-Key": ctx.step.key, **{name: expanded(text) for name, text in spec["headers"].items()}}
        status = await world.web.post(spec["url"], body, headers)
        await ctx.record({"sent_us": ctx.now_us(), "status": status})
    if not spec["wait"]:
        return {"status": ctx.phase["status"]}
    while "called" not in ctx.phase:
        ctx.progress.update(waits="for a call-back")
        await asyncio.sleep(0.1)
    called = ctx.phase["called"]
    if called["state"] != "done":
        raise StepFailed(called["error"] or "the call-back said that it failed")
    return {"status": ctx.phase["status"], **called["result"]}


async def alert(ctx: StepContext, world: World) -> dict[str, Any]:  # noqa: ARG001 - as every effect
    """Write an alert, in the transaction that says it was written."""
    if not ctx.phase.get("sent_us"):
        spec, run, now = ctx.step.spec, ctx.run, ctx.now_us()
        failed = run.outcome is not RunState.DONE
        said = Alert(
            id=f"{run.pipeline}{OF_RULES}{run.rule}", model=run.pipeline, name=spec["name"],
            severity=_SEVERITIES[spec["severity"]], message=outcome(run)[:1000], firing=failed, at_us=now,
        )  # fmt: skip
        await ctx.record({"sent_us": now, "firing": failed}, alert=said)
    return {"firing": ctx.phase["firing"]}


def outcome(run: RuleRun) -> str:
    """In one line, how a run went."""
    state = run.outcome or run.state
    return f"rule {run.rule}, run {run.id}: {state}{': ' + run.reason if run.reason else ''} ({run.trigger.what})"


def summary(run: RuleRun) -> dict[str, Any]:
    """A run for others: why, and what its steps came to."""
    shown = ("number", "kind", "name", "state", "result", "error")
    steps = [{name: getattr(step, name) for name in shown} for step in run.steps if step.state.over]
    trigger = {"kind": run.trigger.kind, "what": run.trigger.what, "by": run.trigger.by, "details": run.trigger.details}
    return {
        "run": run.id, "rule": run.rule, "pipeline": run.pipeline, "trigger": trigger,
        "outcome": str(run.outcome or run.state), "reason": run.reason, "steps": steps,
    }  # fmt: skip


def expanded(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """`text` with $NAME and ${NAME} replaced, so that a secret stands in no file of the pipeline.

    Raises:
        StepFailed: there is no such variable.
    """

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in environment:
            raise StepFailed(f"headers: the role's environment has no {name}")
        return environment[name]

    return _VARIABLE.sub(value, text)
