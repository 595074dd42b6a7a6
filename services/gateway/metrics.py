"""Metrics of the role `gateway`."""

from prometheus_client import Counter, Gauge, Histogram

from headrace.runtime.metrics import LATENCY_BUCKETS

REQUESTS = Counter("headrace_gateway_requests", "Requests answered.", ["route", "status"])
SECONDS = Histogram(
    "headrace_gateway_request_seconds",
    "Time from a request to its answer, without streams.",
    ["route"],
    buckets=LATENCY_BUCKETS,
)
RETRIES = Counter(
    "headrace_gateway_retries",
    "Requests to a role that were tried again, on another instance where there is one.",
    ["role"],
)
SUBSCRIBERS = Gauge("headrace_gateway_subscribers", "Clients that follow the predictions now.")
DROPPED = Counter("headrace_gateway_subscribers_dropped", "Clients that were dropped because they read too slowly.")
STREAMED = Counter("headrace_gateway_streamed", "Predictions sent to clients that follow them.")
PAGES = Gauge("headrace_gateway_pages", "Pages that are open now: clients that follow /v1/live.")
