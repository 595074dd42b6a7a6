"""The trainer's metrics. The label `model` is the model's name in the fleet; `window` is "all" or "recent"."""

from prometheus_client import Counter, Gauge, Histogram

from headrace.runtime.metrics import LATENCY_BUCKETS

EXAMPLES = Counter("headrace_trainer_examples", "Examples learned from.", ["model"])
STEPS = Gauge("headrace_trainer_steps", "Optimizer steps taken, over all starts.", ["model"])
SKIPPED = Counter(
    "headrace_trainer_skipped_batches",
    "Batches skipped though no example is bad; reason is what was not finite: loss, gradients, weights.",
    ["model", "reason"],
)
RESTORED = Counter("headrace_trainer_restored_weights", "Times that ruined weights were taken back.", ["model"])
DAMAGED = Counter("headrace_trainer_damaged_checkpoints", "Damaged checkpoint files, set aside at a start.", ["model"])
DEAD_LETTERS = Counter(
    "headrace_trainer_dead_letters",
    "Examples that cannot be used; reason is decode, features or train where that raises, or not_finite.",
    ["model", "reason"],
)
LOSS = Gauge("headrace_trainer_loss", "Loss of the last batch, before learning from it.", ["model"])
ERROR = Gauge(
    "headrace_trainer_error", "Mean error of predictions made before learning from the example.", ["model", "window"]
)
BASELINE_ERROR = Gauge(
    "headrace_trainer_baseline_error", "The same of the model's baselines.", ["model", "baseline", "window"]
)
STEP_SECONDS = Histogram(
    "headrace_trainer_step_seconds", "One batch: predict, learn.", ["model"], buckets=LATENCY_BUCKETS
)
CHECKPOINTS = Counter("headrace_trainer_published_checkpoints", "Checkpoints published.", ["model"])
REFUSED = Counter(
    "headrace_trainer_refused_checkpoints", "Checkpoints that a gate (finite, schema, worse) kept unpublished.",
    ["model", "gate"],
)  # fmt: skip
VERSION = Gauge("headrace_trainer_version", "The newest published version.", ["model"])
SNAPSHOT_SECONDS = Histogram(
    "headrace_trainer_snapshot_seconds",
    "Training stands still while a checkpoint is copied.",
    ["model"],
    buckets=LATENCY_BUCKETS,
)
CHECKPOINT_SECONDS = Histogram(
    "headrace_trainer_checkpoint_seconds", "From a checkpoint's copy to its event.", ["model"], buckets=LATENCY_BUCKETS
)
CHECKPOINT_BYTES = Gauge("headrace_trainer_checkpoint_bytes", "Size of the newest checkpoint's file.", ["model"])
WEIGHTS_BYTES = Counter(
    "headrace_trainer_published_weights_bytes",
    "Bytes that a host pulls of the versions published, having the one before; kind is delta or anchor.",
    ["model", "kind"],
)
PUT_BACK = Counter(
    "headrace_trainer_put_back_chunks",
    "Chunks of published versions that every store had lost or damaged, put back.",
    ["model"],
)
FRESHNESS = Histogram(
    "headrace_trainer_label_to_publish_seconds", "Age of a checkpoint's newest label when it is published.", ["model"],
    buckets=LATENCY_BUCKETS,
)  # fmt: skip
LAG = Gauge("headrace_trainer_lag_examples", "Examples not learned from yet.", ["model"])
