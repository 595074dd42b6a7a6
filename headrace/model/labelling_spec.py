"""The section `labelling` of pipeline.yaml: the queues of what people are to label, and how they work on them."""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from headrace.evaluation.names import TaskName
from headrace.model.section import Section
from headrace.model.slices import slice_problems

QueueKind = Literal["all", "sampled", "uncertain", "disagreement", "slices", "dead_letters"]
Measure = Literal["margin", "entropy", "spread"]
PROBABILISTIC = frozenset({"binary", "multiclass", "multilabel", "ranking"})
"""Tasks whose single prediction says how sure it is; of the others, whose predictions are numbers, only several do."""
Location = tuple[str | int, ...]


class QueueSpec(Section):
    """One queue."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,48}$")
    kind: QueueKind = Field(description="which predicted events, or dead letters, are to be labelled")
    size: int = Field(1000, ge=1, le=100_000, description="items that wait at most; the least pressing give way")
    per_minute: int = Field(600, ge=1, description="items that are added in a minute at most, the most pressing")
    share: float | None = Field(
        None, gt=0, le=1, validate_default=True, description="kind sampled: of the keys, by their hash"
    )
    measure: Measure | None = Field(
        None,
        description="kind uncertain: margin (the default) or entropy of probabilities; spread: between the models' "
        "numbers, or the field of the prediction that says it",
    )
    field: str | None = Field(
        None, description="kind uncertain, measure spread: field of the prediction that says how uncertain it is"
    )
    slices: tuple[dict[str, Any], ...] = Field(
        (), description="kind slices: fields of the event, each with a value, a list, or {from: a, to: b} (b excluded)"
    )
    alerts: bool = Field(default=True, description="kind slices: those too that a firing alert names")
    where: dict[str, Any] = Field(
        default_factory=dict, description="only events with these values, as a slice has them"
    )

    @field_validator("share")
    @classmethod
    def _only_of_a_sample(cls, share: float | None, info: ValidationInfo) -> float | None:
        if (info.data.get("kind") == "sampled") != (share is not None):
            if share is None:
                raise PydanticCustomError("share", "a sampled queue needs a share, e.g. share: 0.01")
            raise PydanticCustomError("share", "only kind sampled has a share")
        return share

    @model_validator(mode="after")
    def _settings_of_its_kind(self) -> "QueueSpec":
        for name, kind in (("measure", "uncertain"), ("field", "uncertain"), ("slices", "slices")):
            if getattr(self, name) and self.kind != kind:
                raise PydanticCustomError("queue", "`{name}` is for kind {kind}", {"name": name, "kind": kind})
        if self.field and self.measure not in (None, "spread"):
            raise PydanticCustomError("queue", "`field` is for measure spread")
        if self.kind == "slices" and not self.slices and not self.alerts:
            raise PydanticCustomError("queue", "kind slices needs `slices`, or those that alerts name")
        return self


class LabellingSpec(Section):
    """People's work on the queues."""

    queues: tuple[QueueSpec, ...] | None = Field(None, description="by default those that the task and models allow")
    lease_s: float = Field(300.0, ge=1, description="seconds that an item is kept for who took it, unless renewed")
    hold_s: float = Field(3.0, ge=0, description="seconds in which a label can be undone before it is published")
    after_s: float = Field(
        2.0, ge=0, description="seconds that an event waits for a label from elsewhere, before it joins a queue"
    )
    review: float = Field(0.0, ge=0, le=1, description="share of the items that a second person labels too; 1: all")
    blind: bool = Field(default=True, description="the second person does not see what the first one said")
    skips: int = Field(2, ge=1, description="an item that so many people skipped is closed")
    keep: int = Field(100_000, ge=1, description="finished items that are kept for export and agreement")

    def queues_of(self, task: TaskName, *, shadows: bool) -> tuple[QueueSpec, ...]:
        """The queues: those that are written out, else the default ones."""
        return default_queues(task, shadows=shadows) if self.queues is None else self.queues

    def problems(self, task: TaskName, *, shadows: bool) -> Iterator[tuple[Location, str]]:
        """What is wrong with the queues, given the pipeline's task and models: the field, and why."""
        names = set[str]()
        for i, queue in enumerate(self.queues or ()):
            where: Location = ("labelling", "queues", i)
            if queue.name in names:
                yield (*where, "name"), f"two queues have the name {queue.name!r}"
            names.add(queue.name)
            if queue.kind == "disagreement" and not shadows:
                yield (*where, "kind"), "disagreement is between the champion and shadows: `models` names none"
            yield from _measure_problems(queue, where, task, shadows=shadows)

    def field_problems(self, event_type: type[msgspec.Struct]) -> Iterator[tuple[Location, str]]:
        """What is wrong with the slices, given the events that they are of: the field, and why."""
        for i, queue in enumerate(self.queues or ()):
            for j, name, text in slice_problems(queue.slices, event_type):
                yield ("labelling", "queues", i, "slices", j, *([name] if name else [])), text
            for _, name, text in slice_problems([queue.where] if queue.where else [], event_type):
                yield ("labelling", "queues", i, "where", *([name] if name else [])), text


def _measure_problems(
    queue: QueueSpec, where: Location, task: TaskName, *, shadows: bool
) -> Iterator[tuple[Location, str]]:
    if queue.kind != "uncertain":
        return
    if queue.measure in ("margin", "entropy") and task not in PROBABILISTIC:
        yield (*where, "measure"), f"task {task} predicts numbers, which have no {queue.measure}: measure: spread"
    numeric = task not in PROBABILISTIC or queue.measure == "spread"
    if numeric and not queue.field and not shadows:
        text = "a number alone does not say how sure it is: name shadows in `models`, or a `field` of the prediction"
        yield (*where, "kind"), text


def default_queues(task: TaskName, *, shadows: bool) -> tuple[QueueSpec, ...]:
    """The queues of a pipeline that writes none out."""
    made = [QueueSpec(name="all", kind="all", share=None), QueueSpec(name="sampled", kind="sampled", share=0.01)]
    if task in PROBABILISTIC or shadows:
        made.append(QueueSpec(name="uncertain", kind="uncertain", share=None))
    if shadows:
        made.append(QueueSpec(name="disagreement", kind="disagreement", share=None))
    made.append(QueueSpec(name="drifted", kind="slices", share=None))
    made.append(QueueSpec(name="dead-letters", kind="dead_letters", share=None))
    return tuple(made)
