"""Metrics that every process has. A role's own are in its `metrics.py`, each with a sentence.

Names are `headrace_<service>_<what>_<unit>`. Durations are histograms in seconds, so that Prometheus can add them up
over processes; `promtool check metrics` has nothing against any of them (tests/unit/runtime/test_metrics.py).
"""

from prometheus_client import Gauge, Info

LATENCY_BUCKETS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Seconds; finest between 5 and 100 ms, where the latency budgets are."""

SIZE_BUCKETS = tuple(float(4**n) for n in range(10))
"""Numbers of records, 1 to 262,144."""

BUILD = Info("headrace_build", "Version of Headrace and the role that this process plays.")
READY = Gauge("headrace_ready", "1 when this process can do its work, else 0.")
