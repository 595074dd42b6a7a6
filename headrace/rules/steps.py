"""The schema of `steps:` what a run does."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from headrace.model.section import Section
from headrace.rules.section import OneOf

DAY_S = 86_400.0


TRIGGER = "trigger"
"""Of data sets: the one that began the run."""


class TopicData(Section):
    """A range of the pipeline's examples topic."""

    start: str = Field("earliest", description="earliest, a time, or partition:offset,...")
    end: str = Field("latest", description="not included; also latest")
    last_s: float | None = Field(None, gt=0, description="instead of start: the seconds before the trigger")


class SourceData(Section):
    """What the pipeline's own source replays."""

    options: dict[str, Any] = Field(default_factory=dict, description="options of the source")
    limit: int | None = Field(None, ge=1, description="the first so many examples")


class FilesData(Section):
    """Files of the folder that the role `train` may read (--input-dir)."""

    events: str
    labels: str
    time_field: str = Field("", description="field of both that says when each became known")
    delimiter: str | None = None
    encoding: str | None = None
    limit: int | None = Field(None, ge=1, description="the first so many examples")


class DataSpec(OneOf):
    """Where examples come from."""

    KINDS: ClassVar[tuple[str, ...]] = ("topic", "source", "files", "datasets")

    topic: TopicData | None = None
    source: SourceData | None = None
    files: FilesData | None = None
    datasets: tuple[str, ...] | None = Field(
        None, min_length=1, description="name@version of data sets; `trigger` is the one that began the run"
    )


class TrainStep(Section):
    """Train on a bounded set of examples, as `headrace train` does; nothing is published."""

    data: DataSpec = DataSpec(topic=TopicData())
    model: str = Field("", description="a further model of the pipeline; default its champion")
    epochs: int = Field(1, ge=1)
    validation: float = Field(0.1, ge=0, lt=1)
    test: float = Field(0.1, ge=0, lt=1)
    patience: int = Field(0, ge=0)
    settings: dict[str, Any] = Field(default_factory=dict, description="of `training`, what is different")
    tuned: bool = Field(default=False, description="with the best settings of the last `tune` before it")


class TuneStep(Section):
    """Search for better settings of `training`, as `headrace tune` does."""

    data: DataSpec = DataSpec(topic=TopicData())
    model: str = ""
    space: tuple[str, ...] = Field(min_length=1, description="name=low..high, name=low..high:log or name=a,b,c")
    trials: int = Field(20, ge=1)
    workers: int = Field(1, ge=1)
    epochs: int = Field(3, ge=1)
    validation: float = Field(0.2, gt=0, lt=1)
    test: float = Field(0.1, ge=0, lt=1)
    seed: int = Field(0, ge=0)


class EvaluateStep(Section):
    """Compare what was trained with the version that serves, both on the same examples."""

    data: DataSpec | None = Field(None, description="default: the test part of what it was trained on")
    last: int = Field(0, ge=0, description="only so many of them, the newest; 0: all")


class GateStep(Section):
    """Go on only if what was trained is good enough, by the last `evaluate`, else by the training's own test part."""

    champion: float | None = Field(None, gt=0, description="error at most so many times that of what serves")
    baseline: float | None = Field(None, gt=0, description="error at most so many times that of the best baseline")
    error: float | None = Field(None, description="error at most this")
    at_most: dict[str, float] = Field(default_factory=dict, description="metrics of the task, by name")
    at_least: dict[str, float] = Field(default_factory=dict, description="metrics of the task, by name")
    examples: int = Field(1, ge=1, description="compared on fewer, it does not pass")

    @model_validator(mode="after")
    def _some(self) -> Self:
        criteria = (self.champion, self.baseline, self.error, *self.at_most.values(), *self.at_least.values())
        if all(one is None for one in criteria):
            raise PydanticCustomError("gate", "expected a criterion: champion, baseline, error, at_most or at_least")
        return self


class DeployStep(Section):
    """Publish what was trained, and have it served."""

    how: Literal["shadow", "canary", "full"] = Field(alias="as", description="shadow, canary or full")
    share: float | None = Field(None, gt=0, lt=1, description="of the workers, of a canary; default 0.1")
    for_s: float = Field(0.0, ge=0, description="seconds as a shadow or on canaries before the next step")
    model: str = Field("", description="the shadow in `models` that gets the weights")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.how == "shadow") != bool(self.model):
            raise PydanticCustomError("deploy", "`model` names the shadow in `models`, of `as: shadow` and no other")
        if self.share is not None and self.how != "canary":
            raise PydanticCustomError("deploy", "only a canary has a share")
        if self.how == "full" and self.for_s:
            raise PydanticCustomError("deploy", "for_s is of a shadow or a canary")
        return self


class CommandStep(Section):
    """Run a program, without a shell."""

    run: tuple[str, ...] = Field(min_length=1, description="the program and its arguments")
    restart: bool = Field(
        default=False, description="run it again if the role ended meanwhile; if not, the step has failed then"
    )
    env: dict[str, str] = Field(default_factory=dict, description="further environment variables")


class WebhookStep(Section):
    """POST to a URL; the idempotency key is the header Idempotency-Key."""

    url: str = Field(pattern=r"^https?://\S+$")
    headers: dict[str, str] = Field(
        default_factory=dict, description="$NAME in a value is taken from the role's environment"
    )
    details: dict[str, Any] = Field(default_factory=dict, description="handed on in the body")
    wait: bool = Field(default=False, description="done when somebody calls back")


class StepSpec(OneOf):
    """One step."""

    KINDS: ClassVar[tuple[str, ...]] = ("train", "tune", "evaluate", "gate", "deploy", "command", "webhook")

    name: str = Field("", max_length=100, description="for people")
    approve: bool = Field(default=False, description="a person has to approve before it begins")
    timeout_s: float = Field(DAY_S, gt=0, description="seconds after which it has failed")
    train: TrainStep | None = None
    tune: TuneStep | None = None
    evaluate: EvaluateStep | None = None
    gate: GateStep | None = None
    deploy: DeployStep | None = None
    command: CommandStep | None = None
    webhook: WebhookStep | None = None
    optimize: None = Field(None, description="there is no optimizer yet")

    @field_validator("optimize", mode="before")
    @classmethod
    def _no_optimizer(cls, _: Any) -> None:
        raise PydanticCustomError("optimize", "optimize: Headrace has no optimizer yet; use a command or a webhook")


class AlertStep(Section):
    """An alert on headrace.alerts: it starts if the run did not end well, and stops if it did."""

    name: str = Field("rule", pattern=r"^[a-z][a-z0-9_]*$")
    severity: Literal["info", "warning"] = "warning"


class NotifySpec(OneOf):
    """Who is told at the end."""

    KINDS: ClassVar[tuple[str, ...]] = ("webhook", "alert")

    webhook: WebhookStep | None = None
    alert: AlertStep | None = None

    @model_validator(mode="after")
    def _waits_for_nobody(self) -> Self:
        if self.webhook is not None and self.webhook.wait:
            raise PydanticCustomError("notify", "a notification waits for nobody: `wait` is of a step")
        return self
