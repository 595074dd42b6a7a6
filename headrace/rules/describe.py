"""Rules and runs for people, in words, and as the plain values that REST answers."""

from typing import Any

import msgspec

from headrace.contracts.rule_records import RuleRun, RuleStep
from headrace.rules.steps import DataSpec, DeployStep, GateStep, StepSpec
from headrace.rules.when import WhenSpec


def condition(when: WhenSpec) -> str:
    """One condition in words."""
    if when.alert is not None:
        name = "any alert" if when.alert.name == "*" else f"alert {when.alert.name}"
        of = "" if when.alert.model == "*" else f" of {when.alert.model}"
        return f"{name}{of}, {when.alert.severity} or worse"
    if when.error is not None:
        of, lasting = f" of {when.error.model}" if when.error.model else "", when.error.for_s
        return f"error{of} above {when.error.above:g}{f' for {lasting:g} s' if lasting else ''}"
    if when.dataset is not None:
        return f"new version of data set {when.dataset.name}"
    if when.schedule is not None:
        return f"schedule {when.schedule.cron} ({when.schedule.zone})"
    return f"{when.labels} new labels" if when.labels is not None else "a call"


def step(spec: StepSpec) -> str:
    """One step in words."""
    asked = "after a person's approval: " if spec.approve else ""
    name = f"{spec.name}: " if spec.name else ""
    return f"{name}{asked}{_step(spec)}"


def _step(spec: StepSpec) -> str:
    if spec.gate is not None:
        return f"gate: {', '.join(_criteria(spec.gate))}"
    if spec.deploy is not None:
        return _deploy(spec.deploy)
    if spec.command is not None:
        return f"command {' '.join(spec.command.run)}"
    if spec.webhook is not None:
        return f"webhook {spec.webhook.url}{' and wait for a call-back' if spec.webhook.wait else ''}"
    return _learning(spec)


def _learning(spec: StepSpec) -> str:
    if spec.train is not None:
        epochs = f"{spec.train.epochs} epoch{'s' if spec.train.epochs > 1 else ''}"
        return f"train{_model(spec.train.model)} on {_data(spec.train.data)}, {epochs}"
    if spec.tune is not None:
        return f"tune{_model(spec.tune.model)} on {_data(spec.tune.data)}, {spec.tune.trials} trials"
    data = spec.evaluate.data if spec.evaluate is not None else None
    on = "the training's test part" if data is None else _data(data)
    return f"evaluate against the version that serves, on {on}"


def _model(name: str) -> str:
    return f" {name}" if name else ""


def _data(data: DataSpec) -> str:
    if data.datasets is not None:
        return ", ".join("the data set that began it" if one == "trigger" else one for one in data.datasets)
    if data.topic is not None:
        since = f"the last {data.topic.last_s:g} s" if data.topic.last_s is not None else f"from {data.topic.start}"
        return f"the examples topic, {since} to {data.topic.end}"
    return "the pipeline's source" if data.source is not None else f"{data.files.events} and {data.files.labels}"  # type: ignore[union-attr]


def _criteria(gate: GateStep) -> list[str]:
    limits = {"champion": "× what serves", "baseline": "× the best baseline", "error": ""}
    made = [f"error at most {getattr(gate, name):g} {of}".strip() for name, of in limits.items() if getattr(gate, name)]
    made += [f"{name} at most {limit:g}" for name, limit in gate.at_most.items()]
    return made + [f"{name} at least {limit:g}" for name, limit in gate.at_least.items()]


def _deploy(deploy: DeployStep) -> str:
    for_s = f" for {deploy.for_s:g} s" if deploy.for_s else ""
    if deploy.how == "shadow":
        return f"deploy as the shadow {deploy.model}{for_s}"
    if deploy.how == "canary":
        return f"deploy on {deploy.share or 0.1:.0%} of the workers{for_s}"
    return "deploy on all workers"


def shown_run(run: RuleRun, progress: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """A run as REST answers it; `progress` by number of step."""
    trigger = {name: getattr(run.trigger, name) for name in ("kind", "what", "by", "at_us", "details")}
    return {
        "id": run.id,
        "rule": run.rule,
        "state": str(run.state),
        "reason": run.reason,
        "cancelling": bool(run.cancelled_by) and run.outcome is None,
        "trigger": trigger,
        "started_us": run.started_us,
        "ended_us": run.ended_us or None,
        "steps": [_shown_step(step, progress.get(step.number, {})) for step in run.steps],
    }


def _shown_step(step: RuleStep, progress: dict[str, Any]) -> dict[str, Any]:
    names = ("number", "part", "kind", "name", "key", "result", "error")
    return {
        **{name: getattr(step, name) for name in names},
        "state": str(step.state),
        "started_us": step.started_us or None,
        "ended_us": step.ended_us or None,
        "progress": {} if step.state.over else progress,
        "approval": msgspec.to_builtins(step.approval),
    }
