"""What may be asked for after training: a comparison with the version that serves, and publishing."""

from pathlib import Path
from typing import Any

import msgspec

from headrace.runtime.errors import ConfigError
from headrace.training.job import TrainingJob


class EvaluationJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A comparison of trained weights with the version that serves, on the same examples.

    Attributes:
        folder: where the report goes.
        trained: the training job whose weights are compared.
        on: the examples; None takes the trained job's own test part, from which it has learned nothing.
        last: only so many of them, the newest by their labels; 0 takes all.
    """

    folder: str
    trained: TrainingJob
    on: TrainingJob | None = None
    last: int = 0

    def __post_init__(self) -> None:
        if self.last < 0:
            raise ConfigError(f"last: {self.last}, expected 0 or more")
        if self.on is None and not self.trained.test:
            raise ConfigError("the training job kept no test part", hint="train with a test share, or name other data")

    @property
    def path(self) -> Path:
        """The folder of the report."""
        return Path(self.folder)


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """Of one predictor: its mean error, None where none was finite, and the task's metrics."""

    error: float | None
    metrics: dict[str, float] = {}


class EvaluationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison came to; it stands in its folder as report.json.

    Attributes:
        model: the model's name in the fleet.
        unit, error_name: of the errors.
        data: what the examples were.
        examples: how many, with labels from `from_ms` to `to_ms`.
        candidate: the trained weights.
        champion: the version that served when the comparison began, and `version` is its number; None and 0 where none
            did.
        baselines: the errors of the pipeline's baselines.
        seconds: all of it took.
    """

    model: str
    unit: str
    error_name: str
    data: dict[str, Any]
    examples: int
    from_ms: int = 0
    to_ms: int = 0
    candidate: Scores
    champion: Scores | None
    version: int
    baselines: dict[str, float]
    seconds: float


class HandOverJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Publishing what a finished training job made. Once a job and model: again, it is the same version.

    Attributes:
        folder: where the report goes.
        trained: the job, whose folder has its report and its state.
        model: the further model as which it is published; None as which it was trained, "" the champion.
        held: no worker serves it until an operator says so.
    """

    folder: str
    trained: TrainingJob
    model: str | None = None
    held: bool = False

    @property
    def path(self) -> Path:
        """The folder of the report."""
        return Path(self.folder)


class HandOverReport(msgspec.Struct, frozen=True, kw_only=True):
    """The version that was published of a model, and the offsets from which its live trainer goes on."""

    model: str
    version: int
    offsets: dict[int, int]


def as_trained(job: TrainingJob, data: dict[str, Any]) -> TrainingJob:
    """The job on the same range of the topic that it was trained on, by its report's `data`: ends may have moved."""
    if job.data != "topic":
        return job
    starts, ends = (",".join(f"{p}:{offset}" for p, offset in data[name].items()) for name in ("from", "to"))
    return msgspec.structs.replace(job, start=starts, end=ends)
