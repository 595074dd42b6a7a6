"""The schema of `rules:` in pipeline.yaml, and what must hold between a rule's steps."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pydantic import Field

from headrace.model.section import Section
from headrace.rules.steps import TRIGGER, NotifySpec, StepSpec
from headrace.rules.when import WhenSpec

RULE_NAME = r"^[a-z][a-z0-9_-]{0,48}$"
Location = tuple[str | int, ...]
Problem = tuple[Location, str]


class RuleSpec(Section):
    """When something happens, do these steps, then tell."""

    name: str = Field(pattern=RULE_NAME, description="within the pipeline")
    description: str = ""
    when: tuple[WhenSpec, ...] = Field(min_length=1, description="any of these begins a run")
    cooldown_s: float = Field(0.0, ge=0, description="seconds after a run's beginning in which no other begins")
    at_most: int = Field(1, ge=1, le=100, description="runs at once; a trigger beyond them is dropped")
    steps: tuple[StepSpec, ...] = Field(min_length=1, description="one after the other")
    then: tuple[NotifySpec, ...] = Field((), description="who is told at the end, however it went")
    on_failure: Literal["stop", "notify", "roll back"] = Field(
        "notify", description="stop: end at once; notify: `then`; roll back: serve what served before, then `then`"
    )


def problems(
    rules: Sequence[RuleSpec], models: Mapping[str, str], champion: str, shadows: set[str]
) -> Iterator[Problem]:
    """What is wrong with rules taken together, with their steps, and with the models that they name.

    Args:
        rules: the pipeline's.
        models: the further models' names, and the class of each as pipeline.yaml names it.
        champion: the class of the pipeline's own model.
        shadows: those of the further models that are shadows.
    """
    names: set[str] = set()
    for i, rule in enumerate(rules):
        if rule.name in names:
            yield ("rules", i, "name"), f"two rules have the name {rule.name!r}: each needs its own"
        names.add(rule.name)
        for location, text in _Steps(rule, {"": champion, **models}, shadows).problems():
            yield ("rules", i, "steps", *location), text


def _sets(step: StepSpec) -> tuple[str, ...]:
    """The data sets that a step names."""
    section = step.train or step.tune or step.evaluate
    return (section.data.datasets or ()) if section is not None and section.data is not None else ()


class _Steps:
    """Checks the steps of one rule in their order."""

    def __init__(self, rule: RuleSpec, models: Mapping[str, str], shadows: set[str]) -> None:
        self._rule, self._models, self._shadows = rule, models, shadows
        self._before: set[str] = set()
        self._trained = ""

    def problems(self) -> Iterator[Problem]:
        for i, step in enumerate(self._rule.steps):
            for field, text in self._of(i, step):
                yield (i, step.kind, *field), text
            self._before.add(step.kind)
            if step.train is not None:
                self._trained = step.train.model

    def _of(self, i: int, step: StepSpec) -> Iterator[Problem]:
        named = (step.train or step.tune) and (step.train or step.tune).model  # type: ignore[union-attr]
        if named and named not in self._models:
            known = ", ".join(filter(None, self._models)) or "none"
            yield ("model",), f"there is no model {named!r} in `models`: there are {known}"
        if TRIGGER in _sets(step) and not any(when.dataset or when.call for when in self._rule.when):
            yield ("data", "datasets"), "`trigger` is the data set that began the run: no condition is a data set"
        if step.kind in ("evaluate", "gate", "deploy") and "train" not in self._before:
            yield (), f"{step.kind} is about what a step before it trained: there is none"
        if step.train is not None and step.train.tuned and "tune" not in self._before:
            yield ("tuned",), "takes the settings of a `tune` before it: there is none"
        if step.gate is not None and step.gate.champion is not None and "evaluate" not in self._before:
            yield ("champion",), "compares with what serves, which an `evaluate` before it does: there is none"
        if step.deploy is not None:
            yield from self._deploy(i, step)

    def _deploy(self, i: int, step: StepSpec) -> Iterator[Problem]:
        assert step.deploy is not None
        if step.deploy.how == "shadow":
            shadow = step.deploy.model
            if shadow not in self._shadows:
                known = ", ".join(sorted(self._shadows)) or "none"
                yield ("model",), f"{shadow!r} is no shadow in `models`: there are {known}"
            elif self._models.get(shadow) != self._models.get(self._trained):
                trained = self._models.get(self._trained)
                yield ("model",), f"{shadow!r} is a {self._models[shadow]}, what was trained is a {trained}"
        later = (after.deploy for after in self._rule.steps[i + 1 :] if after.deploy is not None)
        if step.deploy.how == "canary" and not any(one.how == "full" for one in later):
            yield ("as",), "a canary goes on until a later step deploys as `full`: there is none"
