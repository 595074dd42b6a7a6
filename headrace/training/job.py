"""What a training job is: which examples, how often, and what becomes of the result."""

from pathlib import Path
from typing import Any, Literal

import msgspec

from headrace.replay.text import FileFormat
from headrace.runtime.errors import ConfigError

From = Literal["topic", "files", "source", "datasets"]
MOST_EXAMPLES = 5_000_000


class TrainingJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked for. Paths are absolute.

    Attributes:
        pipeline: the pipeline's folder.
        folder: where the results go; work on the way too.
        model: one of the pipeline's further models; "" is the champion.
        data: the pipeline's examples topic, files of events and labels, the pipeline's own source, or data sets.
        events: the file of events, for `files`.
        labels: the file of labels.
        datasets: `name@version` of sets of events, of labels, or of both in each row, for `datasets`.
        time_field: the field of both files that says when each became known; "" takes their order.
        form: how CSV and JSON-lines files are read.
        options: of the pipeline's source, `name=value`.
        start: where the topic's range begins: earliest, a time (ISO 8601), or partition:offset,...
        end: where it ends, not included; also latest.
        epochs: passes over the training part.
        validation: share of the examples, after the training part in time, by which the best epoch is chosen.
        test: share at the end, which nothing but the report sees.
        patience: epochs without a better one after which training ends; 0 never.
        settings: of pipeline.yaml's `training`, what is different for this job.
        hand_over: publish the result and have the live trainer go on from it.
        limit: so many examples of the files or the source, the first ones; None takes all.
        track: where the finished job is tracked as an MLflow run: a database or a server; "" nowhere.
        max_examples: more than these are refused, since they are held in memory.
    """

    pipeline: str
    folder: str
    model: str = ""
    data: From = "topic"
    events: str = ""
    labels: str = ""
    datasets: list[str] = []
    time_field: str = ""
    form: FileFormat = msgspec.field(default_factory=FileFormat)
    options: list[str] = []
    start: str = "earliest"
    end: str = "latest"
    epochs: int = 1
    validation: float = 0.1
    test: float = 0.1
    patience: int = 0
    settings: dict[str, Any] = {}
    hand_over: bool = False
    limit: int | None = None
    track: str = ""
    max_examples: int = MOST_EXAMPLES

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"epochs: {self.epochs}, expected 1 or more")
        if self.limit is not None and (self.limit < 1 or self.data == "topic"):
            raise ConfigError(f"limit: {self.limit}, expected 1 or more, and files or a source")
        if self.patience < 0:
            raise ConfigError(f"patience: {self.patience}, expected 0 or more")
        for name, share in (("validation", self.validation), ("test", self.test)):
            if not 0.0 <= share < 1.0:
                raise ConfigError(f"{name}: {share}, expected a share of the examples from 0 to below 1")
        if self.validation + self.test >= 1.0:
            raise ConfigError("validation and test together leave nothing to train on")
        if (self.data == "datasets") != bool(self.datasets):
            raise ConfigError("training on data sets takes their names, and nothing else does")
        if self.data == "files" and not (self.events and self.labels):
            raise ConfigError("training on files takes a file of events and one of labels")

    @property
    def path(self) -> Path:
        """The folder of results."""
        return Path(self.folder)


class PartReport(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the examples: how many, of which times of labels (ms since the epoch), and mean errors.

    `error` is the model's after the best epoch, `baselines` are those of the pipeline's baselines, each of which
    predicted an example before it learned from it. `metrics` are those of the pipeline's task, the model's. None and
    empty where the part is empty.
    """

    examples: int
    from_ms: int = 0
    to_ms: int = 0
    error: float | None = None
    metrics: dict[str, float] = {}
    baselines: dict[str, float] = {}


class EpochReport(msgspec.Struct, frozen=True):
    """One pass: mean loss over the training part, mean error on the validation part (None without one), seconds."""

    epoch: int
    loss: float
    validation: float | None
    seconds: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished job came to; it stands in its folder as report.json.

    Attributes:
        model: the model's name in the fleet.
        unit: of the errors.
        error_name: what the error is: the task's loss, or an error of the model's own.
        data: what it was trained on: the topic with its offsets, the files with their digests, or the source's options.
        settings: all of `training` as it was used.
        parts: train, validation and test.
        epochs: each pass.
        best: the epoch whose weights were kept.
        steps: optimizer steps up to then.
        left_out: examples that could not be used.
        reasons: of some of them.
        purged: examples left out of validation and test because their event came before the part began.
        weights: the file of weights, and `digest` of its bytes.
        version: that was published, 0 where none was; `offsets` are where the live trainer goes on.
        run: the MLflow run's id, or why there is none; "" where the job is not tracked.
        seconds: all of it took.
    """

    model: str
    unit: str
    error_name: str
    data: dict[str, Any]
    settings: dict[str, Any]
    parts: dict[str, PartReport]
    epochs: list[EpochReport]
    best: int
    steps: int
    left_out: int
    reasons: list[str]
    purged: int
    weights: str
    digest: str
    version: int = 0
    offsets: dict[int, int] = {}
    run: str = ""
    seconds: float
