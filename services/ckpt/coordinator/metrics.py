"""What the coordinator measures."""

from prometheus_client import Counter, Gauge, Histogram

from headrace.runtime.metrics import LATENCY_BUCKETS

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
