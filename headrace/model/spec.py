"""The schema of pipeline.yaml."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from headrace.evaluation.names import TaskName
from headrace.model.join_spec import JoinSpec
from headrace.model.labelling_spec import LabellingSpec, QueueSpec
from headrace.model.section import Section
from headrace.model.watching_spec import AlertsSpec, WatchSpec
from headrace.rules.spec import RuleSpec, problems

NAME = r"^[a-z][a-z0-9_-]{0,48}$"
CHAMPION, SHADOW = "champion", "shadow"
"""Of a pipeline's models: its own, and those whose predictions answer nothing. The others are canaries."""
REFERENCE = r"^[A-Za-z_][A-Za-z0-9_]*\.py:[A-Za-z_][A-Za-z0-9_]*$"


def name_in_fleet(pipeline: str, model: str) -> str:
    """What topics and the fleet call a further model of a pipeline; the champion's name is the pipeline's."""
    return f"{pipeline}.{model}"


class TopicsSpec(Section):
    """The pipeline's topics."""

    partitions: int = Field(4, ge=1, le=1024, description="of every topic of this pipeline")


class StreamSpec(Section):
    """Predicting on the stream."""

    guarantee: Literal["exactly_once", "at_least_once"] = "exactly_once"
    max_batch: int = Field(4096, ge=1, description="events in one forward pass at most")


class ScheduleSpec(Section):
    """How the learning rate changes over optimizer steps. It begins at `start` × `learning_rate` and falls to that."""

    kind: Literal["constant", "inverse_time", "cosine"] = Field(
        "constant",
        description="constant: learning_rate itself; inverse_time: start / (1 + step / steps); cosine: half a wave",
    )
    start: float = Field(1.0, gt=0, description="multiple of learning_rate at the first step")
    steps: int = Field(1000, ge=1, description="inverse_time: steps to half of `start`; cosine: steps to learning_rate")
    warm_up: int = Field(0, ge=0, description="steps before that in which the rate rises from nearly 0 to `start`")


class ReplaySpec(Section):
    """Learning again from recent examples: each step's batch holds new ones and a random sample of the window."""

    window: int = Field(50_000, ge=1, description="the newest examples that are sampled from, held in memory")
    examples: int = Field(256, ge=1, description="sampled into each step, beside the new ones of the first step")
    steps: int = Field(1, ge=1, description="optimizer steps for each batch of new examples")


class DriftSpec(Section):
    """Beginning the schedule again, with a window of new examples only, when the error rises."""

    ratio: float = Field(1.5, gt=1, description="recent error / the error before, from which it is a drift")
    examples: int = Field(
        500, ge=10, description="over which the recent error is measured; the error before: ten times"
    )


class GatesSpec(Section):
    """What a checkpoint must pass before it is published. A model's first version always is.

    Tensors of other names, types or shapes than the version published last are refused in any case.
    """

    finite: bool = Field(default=True, description="refuse a checkpoint whose weights had to be taken back")
    worse: float | None = Field(
        1.5,
        gt=0,
        description="refuse a checkpoint whose recent error is more than so many times that of the version published "
        "last, both predicting the same examples before they are learned from; null: do not compare",
    )
    examples: int = Field(2000, ge=1, description="the newest examples on which both are compared")
    least: int = Field(200, ge=1, description="fewer are not compared")


class TrainingSpec(Section):
    """Learning online."""

    batch_size: int = Field(256, ge=1, description="examples in one optimizer step")
    max_wait_s: float = Field(0.5, gt=0, description="seconds after which a partial batch is trained on")
    learning_rate: float = Field(1e-3, gt=0)
    checkpoint_examples: int = Field(5000, ge=1, description="publish a checkpoint after this many examples ...")
    checkpoint_s: float = Field(
        2.0, gt=0, description="... or after this many seconds with at least one, whichever is first"
    )
    clip_norm: float | None = Field(None, gt=0, description="gradients are scaled down to this norm")
    precision: Literal["float32", "bf16"] = Field(
        "float32", description="bf16: matrix products of the learning pass in bfloat16; weights stay as they are"
    )
    compile: bool = Field(default=False, description="the learning pass through torch.compile; needs a C++ compiler")
    average: float | None = Field(
        None, gt=0, lt=1, description="serve a moving average of the weights; the part of it that stays at each step"
    )
    schedule: ScheduleSpec = ScheduleSpec()
    replay: ReplaySpec | None = Field(None, description="learn again from recent examples")
    drift: DriftSpec | None = Field(None, description="begin the schedule again when the error rises")
    race: tuple[float, ...] = Field(
        (),
        max_length=8,
        description="multiples of learning_rate trained side by side; the best by recent error is served",
    )
    warm_start: str | None = Field(
        None,
        description="a file of pretrained weights that a new model begins with as far as they fit, relative to the "
        "pipeline's folder: safetensors, or a state_dict saved by torch.save",
    )
    gates: GatesSpec | None = Field(None, description="what a checkpoint must pass before it is published")
    keep: int = Field(5, ge=2, description="checkpoints kept on shared storage")
    seed: int = Field(0, ge=0, description="of the first weights and of all random state")

    @field_validator("race")
    @classmethod
    def _distinct_rates(cls, race: tuple[float, ...]) -> tuple[float, ...]:
        if any(rate <= 0 for rate in race) or len(set(race)) < len(race) or len(race) == 1:
            raise PydanticCustomError("race", "a race needs two or more different multiples above 0, e.g. [0.3, 1, 3]")
        return race


class VariantSpec(Section):
    """A further model over the pipeline's events, beside the pipeline's own, which is the champion."""

    name: str = Field(pattern=NAME, description="within the pipeline; the fleet knows it as <pipeline>.<name>")
    model: str = Field(
        pattern=REFERENCE, description="file.py:Class of the headrace.Model, over the champion's events and labels"
    )
    role: Literal["shadow", "canary"] = Field(
        description="a canary answers its share of keys; a shadow predicts everything and answers nothing"
    )
    share: float | None = Field(
        None, gt=0, le=1, validate_default=True, description="of the keys, that a canary answers"
    )
    start: float = Field(0.0, ge=0, lt=1, description="where its part of the keys begins; several canaries stand apart")
    training: TrainingSpec = Field(TrainingSpec(), description="what differs from the pipeline's `training`")

    @field_validator("share")
    @classmethod
    def _only_of_a_canary(cls, share: float | None, info: ValidationInfo) -> float | None:
        role = info.data.get("role")
        if role == "canary" and share is None:
            raise PydanticCustomError("share", "a canary needs a share of the keys, e.g. share: 0.05")
        if role == SHADOW and share is not None:
            raise PydanticCustomError(
                "share", "a shadow answers nothing and predicts every event: only a canary has a share"
            )
        return share

    @property
    def part(self) -> tuple[float, float]:
        """Where its part of the keys begins and ends, of [0, 1); empty for a shadow."""
        return self.start, self.start + (self.share or 0.0)


class MonitorSpec(Section):
    """Watching accuracy and drift."""

    window: int = Field(2000, ge=10, description="labelled predictions in the moving error, and in windowed metrics")
    window_s: float = Field(60.0, gt=0, description="seconds of labels in the metrics over time")
    half_life: float = Field(
        2000.0, gt=0, description="labelled predictions after which one counts half in decayed metrics"
    )
    sample: float = Field(1.0, gt=0, le=1, description="share of keys that the monitor follows")
    worse_beside: float = Field(
        2.0, gt=1, description="a version is at fault whose error is so many times that of others at the same time ..."
    )
    worse_before: float = Field(4.0, gt=1, description="... or, where it serves alone, that of the versions before it")


class DemoSpec(Section):
    """How `headrace demo` replays the source."""

    speed: float | None = Field(None, gt=0, description="event seconds per wall-clock second")
    rate: float | None = Field(None, gt=0, description="events per second, if not by event time")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the source")


class PipelineSpec(Section):
    """All of pipeline.yaml."""

    name: str = Field(pattern=NAME, description="prefix of the topics, and the model's name")
    model: str = Field(pattern=REFERENCE, description="file.py:Class of the headrace.Model")
    source: str | None = Field(None, pattern=REFERENCE, description="file.py:Class of the headrace.Source")
    task: TaskName = Field("regression", description="what is predicted: it chooses error, metrics and baselines")
    description: str = ""
    topics: TopicsSpec = TopicsSpec()
    stream: StreamSpec = StreamSpec()
    join: JoinSpec = JoinSpec()
    training: TrainingSpec = TrainingSpec()
    monitor: MonitorSpec = MonitorSpec()
    labelling: LabellingSpec = LabellingSpec()
    drift: WatchSpec = WatchSpec()
    alerts: AlertsSpec = AlertsSpec()
    demo: DemoSpec = DemoSpec()
    models: tuple[VariantSpec, ...] = Field((), description="further models over the same events")
    rules: tuple[RuleSpec, ...] = Field((), description="when something happens, do these steps")

    @property
    def has_shadows(self) -> bool:
        """Whether a model predicts without answering, which takes a topic of its own."""
        return any(variant.role == SHADOW for variant in self.models)

    @property
    def label_queues(self) -> tuple[QueueSpec, ...]:
        """The queues of what people are to label: those of `labelling`, else the default ones."""
        return self.labelling.queues_of(self.task, shadows=self.has_shadows)

    def training_of(self, variant: VariantSpec) -> TrainingSpec:
        """How a further model is trained: as the champion, but for what its own section sets."""
        own = {name: getattr(variant.training, name) for name in variant.training.model_fields_set}
        return self.training.model_copy(update=own)

    def conflicts(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """What is wrong with the models, the rules and the queues taken together: the field, and why."""
        yield from self.labelling.problems(self.task, shadows=self.has_shadows)
        names: set[str] = {self.name}
        for i, variant in enumerate(self.models):
            if variant.name in names:
                whose = "the pipeline's own model has" if variant.name == self.name else "two models have"
                yield ("models", i, "name"), f"{whose} the name {variant.name!r}: each needs its own"
            names.add(variant.name)
        canaries = [(i, variant) for i, variant in enumerate(self.models) if variant.role == "canary"]
        total = sum(variant.share or 0.0 for _, variant in canaries)
        if total > 1 + _ROUNDING:
            yield (
                ("models", canaries[-1][0], "share"),
                f"the canaries' shares sum to {total:.4g}: at most 1 can be given away",
            )
            return
        yield from _overlaps(canaries)
        shadows = {variant.name for variant in self.models if variant.role == SHADOW}
        yield from problems(self.rules, {v.name: v.model for v in self.models}, self.model, shadows)


_ROUNDING = 1e-9


def _overlaps(canaries: list[tuple[int, VariantSpec]]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Parts of the keys that leave [0, 1), or that two canaries claim."""
    for i, one in canaries:
        if one.part[1] > 1 + _ROUNDING:
            text = f"{one.name}: start {one.start:g} and share {one.share:g} go beyond 1, where the keys end"
            yield ("models", i, "start"), text
    for (_, one), (i, other) in combinations(canaries, 2):
        low, high = max(one.part[0], other.part[0]), min(one.part[1], other.part[1])
        if high > low + _ROUNDING:
            claim = f"{one.name} and {other.name} both claim the keys from {low:g} to {high:g}"
            yield ("models", i, "start"), f"{claim}: set `start` to where {other.name} has room, e.g. {one.part[1]:g}"
