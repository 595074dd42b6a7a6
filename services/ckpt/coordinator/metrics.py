"""What the coordinator measures."""

from prometheus_client import Counter, Gauge, Histogram

from headrace.contracts.events_pb2 import RolloutDirective
from headrace.rollouts.directives import CANARY, SERVES, STAGE
from headrace.runtime.metrics import LATENCY_BUCKETS
from services.ckpt.coordinator.service import Rollout

MODELS = Gauge("headrace_ckpt_models", "Models that this coordinator is responsible for.")
FLEET = Gauge("headrace_ckpt_fleet_workers", "Workers alive in the fleet.", ["model"])
ACTIVE_VERSION = Gauge("headrace_ckpt_active_version", "The fleet's active version.", ["model"])
PINNED = Gauge("headrace_ckpt_pinned", "1 while an operator's roll back holds the version.", ["model"])
CANARIES = Gauge("headrace_ckpt_canaries", "Workers that a new version is given to before the others.", ["model"])
ROLLBACKS = Counter(
    "headrace_ckpt_rollbacks",
    "Versions taken back, by cause (operator, failures, alert, silence), from the fleet or from its canaries.",
    ["model", "cause", "where"],
)
DIRECTIVES = Counter("headrace_ckpt_directives", "Directives issued.", ["model", "action"])
ROLLOUT = Histogram(
    "headrace_ckpt_rollout_seconds", "From staging a version to activating it.", ["model"], buckets=LATENCY_BUCKETS
)
COMMIT = Histogram("headrace_ckpt_commit_seconds", "One transaction of directives.", buckets=LATENCY_BUCKETS)
IGNORED = Counter(
    "headrace_ckpt_ignored_checkpoints", "Checkpoints that were duplicates, late or of a fenced trainer.", ["model"]
)
SWEPT = Counter("headrace_ckpt_swept_chunks", "Chunks removed because no kept version refers to them.", ["model"])


class DirectiveMetrics:
    """Counts directives, and how long each rollout took from its staging on."""

    def __init__(self) -> None:
        self._staged_at: dict[str, float] = {}

    def observe(self, directive: RolloutDirective, now: float, commit_s: float) -> None:
        """Count a directive that was decided at ``now``, in seconds since the epoch, and took ``commit_s`` to write."""
        model = directive.model
        DIRECTIVES.labels(model, RolloutDirective.Action.Name(directive.action)).inc()
        COMMIT.observe(commit_s)
        if directive.cause and directive.action != CANARY:
            ROLLBACKS.labels(model, directive.cause, "canary" if directive.canaries else "fleet").inc()
        if directive.action == STAGE:
            self._staged_at[model] = now
        elif directive.action in SERVES:
            ACTIVE_VERSION.labels(model).set(directive.version)
            PINNED.labels(model).set(directive.pinned)
            ROLLOUT.labels(model).observe(now - self._staged_at.pop(model, now))


def count_workers(rollout: Rollout) -> None:
    """Count a model's workers and canaries."""
    canary = rollout.judge.canary
    FLEET.labels(rollout.ledger.model).set(len(rollout.fleet.alive))
    CANARIES.labels(rollout.ledger.model).set(len(canary.names) if canary is not None else 0)
