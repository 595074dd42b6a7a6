"""Metrics of both inference roles."""

from prometheus_client import Gauge

UNEQUAL_SIZES = Gauge(
    "headrace_inference_unequal_batch_sizes",
    "Batch sizes, of those tried as the process began, in which an event's outputs differ from those it has alone.",
    ["model"],
)
