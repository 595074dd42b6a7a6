"""The monitor's snapshot: JSON at its `GET /v1/snapshot`, read by the board, by `headrace status` and by the gateway.

Additive only, as the topics' schemas are: every field has a default, and readers skip fields that they do not know.
"""

import msgspec


class Counts(msgspec.Struct, frozen=True):
    """Records since the monitor's start of reading."""

    events: int = 0
    labels: int = 0
    predictions: int = 0
    joined: int = 0
    """Predictions whose label has arrived, among the followed keys."""
    dead_letters: int = 0
    duplicates: int = 0
    """Predictions of an event that had one already. Exactly once means 0."""
    missing: int = 0
    """Events passed over: later ones of their partition have a prediction, these have neither one nor a dead letter."""
    unpredicted: int = 0
    """Events without a prediction or dead letter so far: the stream's backlog, and what is missing."""
    expired: int = 0
    """Followed keys dropped before event, prediction and label were together: by age, or for lack of room."""
    unreadable: int = 0
    """Records that could not be decoded or scored."""


class Rates(msgspec.Struct, frozen=True):
    """Records a second, over the last few seconds."""

    events: float = 0.0
    labels: float = 0.0
    predictions: float = 0.0


class Score(msgspec.Struct, frozen=True):
    """Mean error of one predictor; None before the first label."""

    mean: float | None = None
    """Over all labelled predictions."""
    window: float | None = None
    """Over the last `Snapshot.window` of them."""


class Metrics(msgspec.Struct, frozen=True):
    """The metrics of a pipeline's task, of one predictor, by name; without those that are not defined yet."""

    window: dict[str, float] = {}
    """Over the last `Snapshot.window` labelled predictions."""
    recent: dict[str, float] = {}
    """Over those whose label came in the last `Snapshot.window_s` seconds."""
    decayed: dict[str, float] = {}
    """Over all, each counting half after `Snapshot.half_life` further ones."""
    whole: dict[str, float] = {}
    """Over all."""


class VersionScore(msgspec.Struct, frozen=True):
    """Mean error of what one version predicted."""

    version: int
    count: int
    mean: float
    model: str = ""
    metrics: dict[str, float] = {}
    """The task's."""
    baselines: dict[str, float] = {}
    """Mean errors of the baselines over the same events."""


class Point(msgspec.Struct, frozen=True):
    """The moving errors at one time."""

    at_us: int
    joined: int
    model: float
    baseline: float | None = None
    """Of the best baseline."""


class Quantiles(msgspec.Struct, frozen=True):
    """Of the last observations, in seconds; None before the first."""

    count: int = 0
    p50: float | None = None
    p99: float | None = None


class Canary(msgspec.Struct, frozen=True):
    """A version that some of the workers serve before the others do."""

    version: int
    workers: tuple[str, ...]
    until_us: int
    """When the others follow, if nothing speaks against it; 0: when an operator says so."""


class Versions(msgspec.Struct, frozen=True):
    """Where the weights are."""

    newest: int = 0
    """The newest checkpoint's version; 0 if none."""
    active: int = 0
    """What the fleet was last told to serve."""
    pinned: bool = False
    """Rolled back by an operator: newer checkpoints wait."""
    serving: tuple[int, ...] = ()
    """Versions on the latest predictions."""
    checkpoints: int = 0
    examples: int = 0
    """Examples that the newest checkpoint has learned from."""
    served: int = 0
    """Different versions seen on predictions."""
    swaps: int = 0
    """Times that the fleet was told to serve another version."""
    first_prediction_us: int = 0
    """When the first prediction was made; 0 before that."""
    canary: Canary | None = None
    """While a newer version is on canaries."""


class Worker(msgspec.Struct, frozen=True):
    """What a serving process last reported."""

    worker: str
    role: str
    host: str
    state: str
    version: int
    at_us: int
    error: str = ""


class Firing(msgspec.Struct, frozen=True):
    """An alert that is on."""

    name: str
    severity: str
    message: str
    since_us: int
    model: str = ""


class ModelStatus(msgspec.Struct, frozen=True):
    """One of a pipeline's several models.

    Errors are all by the champion's measure; `duplicates` is of a shadow's own topic.
    """

    model: str
    role: str
    """champion, canary or shadow."""
    share: float | None = None
    """Of the keys, that a canary answers."""
    predictions: int = 0
    duplicates: int = 0
    scored: int = 0
    """Predictions whose label has arrived, among the followed keys."""
    score: Score = Score()
    versions: Versions = Versions()
    workers: tuple[Worker, ...] = ()
    metrics: Metrics = Metrics()


class Snapshot(msgspec.Struct, frozen=True):
    """Everything that the monitor knows of one pipeline. Times are µs since the epoch."""

    pipeline: str
    at_us: int
    started_us: int
    task: str = "regression"
    error_name: str = "mean error"
    """What the errors below are: the task's loss, unless the model has an error of its own."""
    error_unit: str = ""
    window: int = 0
    window_s: float = 0.0
    half_life: float = 0.0
    sample: float = 1.0
    counts: Counts = Counts()
    rates: Rates = Rates()
    model: Score = Score()
    baselines: dict[str, Score] = {}
    """Over exactly the same labelled keys as the model's."""
    metrics: dict[str, Metrics] = {}
    """Of the predictions served ("model") and of each baseline, over exactly the same keys."""
    by_version: tuple[VersionScore, ...] = ()
    history: tuple[Point, ...] = ()
    versions: Versions = Versions()
    freshness: Quantiles = Quantiles()
    """A label's arrival on its topic to the first prediction of a version trained on it, per version."""
    latency: Quantiles = Quantiles()
    """An event's arrival on its topic to its prediction."""
    lag: dict[str, int] = {}
    """Records that each role has still to read: stream, join, trainer."""
    workers: tuple[Worker, ...] = ()
    alerts: tuple[Firing, ...] = ()
    models: tuple[ModelStatus, ...] = ()
    """Each model, the champion first, where the pipeline has several; `model` is then what all of them served."""

    @property
    def best_baseline(self) -> str | None:
        """The name of the baseline with the lowest moving error; None before the first label."""
        known = {name: score.window for name, score in self.baselines.items() if score.window is not None}
        return min(known, key=lambda name: known[name], default=None)

    @property
    def beats_baselines(self) -> bool:
        """Whether the model's moving error is at most the best baseline's; True where there is none to beat."""
        best = self.best_baseline
        return best is None or (self.model.window or 0.0) <= (self.baselines[best].window or 0.0)


def decode(body: bytes | str) -> Snapshot:
    """A snapshot from its JSON.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return msgspec.json.decode(body, type=Snapshot)
