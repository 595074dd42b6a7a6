"""deploy and roll back: publishing what was trained, and requests to the model's coordinator.

Deploying, in this order; wherever the process dies, it goes on behind what was recorded last:

1. record which version serves, so that a roll back goes to it;
2. hand over: the role `train` publishes the version once, held, so that no worker serves it by itself;
3. record the version and send the request to deploy it, in one transaction;
4. wait for the coordinator's answer, and on canaries for as long as the step says.
"""

import asyncio
from contextlib import suppress
from typing import Any

from headrace.contracts.events_pb2 import Operation
from headrace.rules.effects.port import Answer, StepContext, StepFailed, World
from headrace.rules.effects.training import done, trained_job
from headrace.rules.life import deployed

SHARE = 0.1
GIVEN_UP = ("given up", "refused")


async def deploy(ctx: StepContext, world: World) -> dict[str, Any]:
    """Have what was trained served."""
    if ctx.step.spec["as"] == "shadow":
        return await _shadow(ctx, world)
    model = ctx.run.pipeline
    trained = ctx.result_of("train")
    if trained is not None and trained["model"] != model:
        model = str(trained["model"])
    version, operation = ctx.phase.get("version", 0), f"{ctx.step.key}/deploy"
    if not version:
        # 1.
        if "before" not in ctx.phase:
            await ctx.record({"model": model, "before": _before(ctx, world, model)})
        # 2.
        version = await _hand_over(ctx, world)
        # 3.
        await ctx.record({"version": version}, operation=_request(ctx, operation, model, version))
    # 4.
    canary = ctx.step.spec["as"] == "canary"
    answer = await _answered(ctx, world, operation, "canary" if canary else "active")
    if canary:
        await _stay(ctx, world, operation, answer.at_us + int(ctx.step.spec["for_s"] * 1e6))
    return {"model": model, "version": version, "before": ctx.phase["before"], "said": answer.reason}


async def roll_back(ctx: StepContext, world: World) -> dict[str, Any]:
    """Serve what served before the run deployed anything; pinned, until an operator resumes."""
    last = deployed(ctx.run)
    if last is None or not last.phase.get("before"):
        return {"nothing": "the run has not deployed anything, or no version served before"}
    model, before, operation = last.phase["model"], last.phase["before"], f"{ctx.step.key}/roll-back"
    if not ctx.phase.get("version"):
        request = Operation(
            id=operation, model=model, kind=Operation.ROLL_BACK, version=before, reason=ctx.run.reason[:500],
            requested_by=f"rule {ctx.run.rule}", requested_at_us=ctx.now_us(),
        )  # fmt: skip
        await ctx.record({"model": model, "version": before}, operation=request)
    answer = await _answered(ctx, world, operation, "active")
    return {"model": model, "version": before, "said": answer.reason}


def _before(ctx: StepContext, world: World, model: str) -> int:
    """The version that served before the run deployed its first."""
    earlier = (s for s in ctx.run.steps[: ctx.step.number - 1] if s.kind == "deploy" and s.phase.get("model") == model)
    return next((step.phase["before"] for step in earlier), None) or world.fleet.active(model)


async def _hand_over(ctx: StepContext, world: World, model: str | None = None) -> int:
    """The version as which the training job is published: one and the same for all of the run's steps."""
    asked = {"job": trained_job(ctx), "model": model, "held": model is None}
    key = f"{ctx.run.id}/hand-over/{asked['job']}/{model or ''}"
    job = await done(ctx, world, "hand-overs", asked, key)
    return int(job["report"]["version"])


def _request(ctx: StepContext, operation: str, model: str, version: int) -> Operation:
    spec = ctx.step.spec
    share = (spec["share"] or SHARE) if spec["as"] == "canary" else 0.0
    return Operation(
        id=operation, model=model, kind=Operation.DEPLOY, version=version, canary_share=share,
        reason=f"rule {ctx.run.rule}, run {ctx.run.id}", requested_by=f"rule {ctx.run.rule}",
        requested_at_us=ctx.now_us(),
    )  # fmt: skip


async def _answered(ctx: StepContext, world: World, operation: str, wanted: str) -> Answer:
    """Wait for an answer. Compaction may have taken it: a version that was served and left again was deployed."""
    model, version = ctx.phase["model"], ctx.phase["version"]
    while True:
        answer = world.fleet.answer(operation)
        if answer is not None and answer.state in GIVEN_UP:
            raise StepFailed(f"version {version}: {answer.reason or answer.state}")
        if answer is not None and answer.state in (wanted, "active"):
            return answer
        if answer is None and world.fleet.refused(model, version) and wanted != "active":
            raise StepFailed(f"version {version} was refused")
        if answer is None and world.fleet.active(model) > version:
            return Answer("active", version, "a newer version serves by now", ctx.now_us())
        ctx.progress.update(version=version, waits="for the coordinator" if answer is None else "for workers")
        await world.fleet.changed()


async def _stay(ctx: StepContext, world: World, operation: str, until_us: int) -> None:
    """Wait until a time, while nothing speaks against the version."""
    while (left := until_us - ctx.now_us()) > 0:
        answer = world.fleet.answer(operation)
        if answer is not None and answer.state in GIVEN_UP:
            raise StepFailed(f"version {answer.version} on canaries: {answer.reason or answer.state}")
        ctx.progress.update(waits="on canaries", left_s=round(left / 1e6, 1))
        with suppress(TimeoutError):
            async with asyncio.timeout(left / 1e6):
                await world.fleet.changed()
    answer = world.fleet.answer(operation)
    if answer is not None and answer.state in GIVEN_UP:
        raise StepFailed(f"version {answer.version} on canaries: {answer.reason or answer.state}")


async def _shadow(ctx: StepContext, world: World) -> dict[str, Any]:
    """Publish as a shadow's version, which serves no answer: it needs no request."""
    shadow = ctx.step.spec["model"]
    model = f"{ctx.run.pipeline}.{shadow}"
    version = ctx.phase.get("shadow", 0)
    if not version:
        version = await _hand_over(ctx, world, shadow)
        await ctx.record({"shadow": version})
    while world.fleet.active(model) < version:
        ctx.progress.update(version=version, waits="for the fleet to serve it as a shadow")
        await world.fleet.changed()
    if "since_us" not in ctx.phase:
        await ctx.record({"since_us": ctx.now_us()})
    while (left := ctx.phase["since_us"] + ctx.step.spec["for_s"] * 1e6 - ctx.now_us()) > 0:
        ctx.progress.update(waits="as a shadow", left_s=round(left / 1e6, 1))
        await asyncio.sleep(min(1.0, left / 1e6))
    return {"model": model, "version": version}
