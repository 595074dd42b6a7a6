"""What a study of hyperparameters is: a training job, settings to try, and what it reports."""

import re
from typing import Any, Literal

import msgspec

from headrace.runtime.errors import ConfigError
from headrace.training.job import TrainingJob

_RANGE = re.compile(r"(?P<low>-?[\d.]+(?:e-?\d+)?)\.\.(?P<high>-?[\d.]+(?:e-?\d+)?)(?P<log>:log)?", re.IGNORECASE)


class Axis(msgspec.Struct, frozen=True):
    """A setting of `training` and the values to try: a range (whole numbers where both ends are), or a choice.

    `name` may have dots: schedule.start.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    choices: tuple[Any, ...] = ()

    @classmethod
    def of(cls, text: str) -> "Axis":
        """From name=low..high, name=low..high:log or name=a,b,c.

        Raises:
            ConfigError: it is of none of these forms.
        """
        name, sign, value = text.partition("=")
        wrong = ConfigError(f"--space {text}: expected name=low..high, name=low..high:log or name=a,b,c")
        if not sign or not name or not value:
            raise wrong
        if (found := _RANGE.fullmatch(value)) is None:
            if ".." in value:
                raise wrong
            return cls(name, choices=tuple(_plain(one) for one in value.split(",")))
        try:
            low, high = float(found["low"]), float(found["high"])
        except ValueError:
            raise wrong from None
        if not low < high or (found["log"] and low <= 0):
            raise ConfigError(f"--space {text}: expected low < high{' and above 0' if found['log'] else ''}")
        whole = found["low"].lstrip("-").isdigit() and found["high"].lstrip("-").isdigit()
        return cls(name, low, high, bool(found["log"]), whole)


def _plain(text: str) -> Any:
    """A number, true, false or null where the text is one, else the text."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def nested(settings: dict[str, Any]) -> dict[str, Any]:
    """Names with dots as objects in objects."""
    made: dict[str, Any] = {}
    for name, value in settings.items():
        *outer, last = name.split(".")
        at = made
        for part in outer:
            at = at.setdefault(part, {})
        at[last] = value
    return made


class StudyJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked for.

    Attributes:
        training: the job that each trial does, but for its settings; its folder is the study's. If it hands over, the
            best trial's weights are handed over, to a further model: a candidate beside the champion.
        space: what to try.
        trials: how many, those of earlier runs of the study included; the first has the pipeline's own settings.
        workers: trials at once, each in a process with the examples in its own memory.
        prune: end trials early whose validation error is worse than the median of the others' at that epoch.
        seed: of the search.
    """

    training: TrainingJob
    space: tuple[Axis, ...]
    trials: int = 20
    workers: int = 1
    prune: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.space:
            raise ConfigError("nothing to try", hint="--space learning_rate=0.0001..0.1:log")
        if not self.training.validation:
            raise ConfigError("a study needs a validation part to choose by")
        if self.training.hand_over and not self.training.model:
            raise ConfigError("a study hands over to a further model, not to the champion", hint="--shadow NAME")
        if self.trials < 1 or self.workers < 1:
            raise ConfigError("trials and workers: expected 1 or more")


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One trial: `settings` by name, `error` on the validation part after its best epoch (None if it has none)."""

    number: int
    settings: dict[str, Any]
    state: Literal["complete", "pruned", "failed"]
    error: float | None
    epochs: int


class StudyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a study found; it stands in its folder as study.json.

    `first` has the pipeline's own settings. `test` are the errors of first and best on the test part, by which nothing
    was chosen. `plots` are files. `version` is what was published of the best trial, 0 if nothing was; `refused` which
    gate kept it from that.
    """

    model: str
    unit: str
    trials: list[Trial]
    first: Trial
    best: Trial
    test: dict[str, float | None]
    plots: list[str]
    seconds: float
    version: int = 0
    refused: str = ""
