"""Metrics of the role `rules`."""

from prometheus_client import Counter, Gauge, Histogram

TRIGGERS = Counter(
    "headrace_rules_triggers", "Triggers, by rule and verdict: admitted, duplicate, busy or cooldown.",
    ["rule", "verdict"],
)  # fmt: skip
ENDED = Counter("headrace_rules_ended_runs", "Runs that ended, by rule and state.", ["rule", "state"])
OPEN = Gauge("headrace_rules_open_runs", "Runs that are not over, by state: running or waiting.", ["state"])
STEPS = Histogram(
    "headrace_rules_step_seconds", "Time from a step's beginning to its end, by kind and state.", ["kind", "state"],
    buckets=(0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0),
)  # fmt: skip
REQUESTS = Counter("headrace_rules_requests", "Requests answered.", ["route", "status"])


def request(route: str, status: int, _: float) -> None:
    """See `headrace.runtime.rest.Observe`."""
    REQUESTS.labels(route, str(status)).inc()
