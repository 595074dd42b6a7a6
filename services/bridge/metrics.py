"""What the bridge measures."""

from prometheus_client import Counter, Gauge, Histogram

from headrace.runtime.metrics import LATENCY_BUCKETS

VERSION = Gauge(
    "headrace_bridge_triton_version", "The version that Triton serves, verified; 0 before the first.", ["model"]
)
PUBLISHED = Counter(
    "headrace_bridge_publications",
    "Versions given to Triton: verified, refused, wrong or unreachable.",
    ["model", "outcome"],
)
STEP = Histogram(
    "headrace_bridge_step_seconds",
    "Each step: export, write, load, verify.",
    ["model", "step"],
    buckets=LATENCY_BUCKETS,
)
DEVIATION = Gauge(
    "headrace_bridge_deviation", "Difference of Triton's answers from our own, relative to the largest one.", ["model"]
)
