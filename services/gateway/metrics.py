"""Metrics of the gateway."""

from prometheus_client import Counter, Gauge, Histogram

from headrace.runtime.metrics import LATENCY_BUCKETS

REQUESTS = Counter("headrace_gateway_requests", "Requests answered.", ["route", "status"])
SECONDS = Histogram(
    "headrace_gateway_request_seconds", "Time to answer; streams excluded.", ["route"], buckets=LATENCY_BUCKETS
)
RETRIES = Counter("headrace_gateway_retries", "Requests to a role that were tried again elsewhere.", ["role"])
SUBSCRIBERS = Gauge("headrace_gateway_subscribers", "Readers of the predictions.")
DROPPED = Counter("headrace_gateway_subscribers_dropped", "Readers that were dropped because they were too slow.")
STREAMED = Counter("headrace_gateway_streamed", "Predictions given to readers.")
