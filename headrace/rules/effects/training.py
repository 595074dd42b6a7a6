"""train, tune and evaluate: jobs of the role `train`, each under its step's key."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from headrace.contracts.rule_records import RuleTrigger
from headrace.rules.effects.port import StepContext, StepFailed, World
from headrace.rules.steps import TRIGGER

POLL_S = 0.5


async def train(ctx: StepContext, world: World) -> dict[str, Any]:
    """Train; nothing is published."""
    spec = ctx.step.spec
    settings = dict(spec["settings"])
    if spec["tuned"]:
        study = ctx.result_of("tune") or {}
        settings |= study.get("settings", {})
    asked = {
        **data_of(spec["data"], ctx.run.trigger),
        "model": spec["model"], "epochs": spec["epochs"], "validation": spec["validation"], "test": spec["test"],
        "patience": spec["patience"], "settings": settings,
    }  # fmt: skip
    job = await done(ctx, world, "jobs", asked, ctx.step.key)
    report = job["report"]
    parts = {name: {"examples": part["examples"], "error": part["error"]} for name, part in report["parts"].items()}
    kept = {name: report[name] for name in ("model", "unit", "error_name", "best", "digest", "seconds")}
    test = report["parts"]["test"]
    return {"job": job["id"], **kept, "parts": parts, "metrics": test["metrics"], "baselines": test["baselines"]}


async def tune(ctx: StepContext, world: World) -> dict[str, Any]:
    """Search for settings."""
    spec = ctx.step.spec
    training = {
        **data_of(spec["data"], ctx.run.trigger),
        "model": spec["model"], "epochs": spec["epochs"], "validation": spec["validation"], "test": spec["test"],
    }  # fmt: skip
    asked = {"training": training, **{name: spec[name] for name in ("space", "trials", "workers", "seed")}}
    job = await done(ctx, world, "studies", asked, ctx.step.key)
    report = job["report"]
    best, first = report["best"], report["first"]
    return {
        "study": job["id"], "trials": len(report["trials"]), "settings": nested(best["settings"]),
        "error": best["error"], "error_before": first["error"], "test": report["test"],
    }  # fmt: skip


async def evaluate(ctx: StepContext, world: World) -> dict[str, Any]:
    """Compare what was trained with what serves."""
    spec, trained = ctx.step.spec, trained_job(ctx)
    on = data_of(spec["data"], ctx.run.trigger) if spec["data"] is not None else None
    job = await done(ctx, world, "evaluations", {"job": trained, "on": on, "last": spec["last"]}, ctx.step.key)
    return {"evaluation": job["id"], **{name: value for name, value in job["report"].items() if name != "data"}}


def trained_job(ctx: StepContext) -> str:
    """The training job of the last train step.

    Raises:
        StepFailed: none is done.
    """
    trained = ctx.result_of("train")
    if trained is None:
        raise StepFailed("no step before it has trained anything")
    return str(trained["job"])


async def done(ctx: StepContext, world: World, kind: str, asked: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Submit a job, which is the same one for the same key, and wait for its end.

    Raises:
        StepFailed: the job failed, or was cancelled by somebody else.
    """
    job = await world.jobs.submit(kind, asked, key)
    if ctx.phase.get(kind) != job["id"]:
        await ctx.record({kind: job["id"]})
    while job["state"] not in ("done", "failed", "cancelled"):
        told = ("state", "epoch", "epochs", "done", "batches", "heard_so_far")
        ctx.progress.update({name: job[name] for name in told if name in job}, job=job["id"])
        await asyncio.sleep(POLL_S)
        job = await world.jobs.get(kind, job["id"])
    if job["state"] != "done":
        raise StepFailed(f"the job {job['id']} {job['state']}{': ' + job['error'] if job['error'] else ''}")
    return job


def data_of(data: Mapping[str, Any], trigger: RuleTrigger) -> dict[str, Any]:
    """A data section as the role `train` takes it.

    Raises:
        StepFailed: it names the data set that began the run, and none did.
    """
    if (topic := data.get("topic")) is not None:
        start = topic["start"]
        if topic["last_s"] is not None:
            start = datetime.fromtimestamp(trigger.at_us / 1e6 - topic["last_s"], UTC).isoformat()
        return {"data": "topic", "start": start, "end": topic["end"]}
    if (source := data.get("source")) is not None:
        options = [f"{name}={_plain(value)}" for name, value in source["options"].items()]
        return {"data": "source", "options": options, "limit": source["limit"]}
    if (sets := data.get("datasets")) is not None:
        return {"data": "datasets", "datasets": [_set(name, trigger) for name in sets]}
    files = data["files"]
    return {"data": "files", **{name: value for name, value in files.items() if value is not None}}


def _set(name: str, trigger: RuleTrigger) -> str:
    if name != TRIGGER:
        return name
    if (found := trigger.details.get("dataset")) is None:
        raise StepFailed("no data set began the run, but a call may name one: details: {dataset: name@version}")
    return str(found)


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Names with dots as objects in objects: schedule.start."""
    made: dict[str, Any] = {}
    for name, value in settings.items():
        *outer, last = name.split(".")
        at = made
        for part in outer:
            at = at.setdefault(part, {})
        at[last] = value
    return made


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
