"""Metrics of the role `rpc`."""

from collections.abc import Iterator

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from headrace.runtime.metrics import LATENCY_BUCKETS, SIZE_BUCKETS
from services.inference.rpc.statistics import Phases, Statistics

_LABELS = ["model"]

REQUESTS = Counter(
    "headrace_inference_requests_total", "Requests to predict, by outcome: success or failure.", ["model", "outcome"]
)
SECONDS = Histogram(
    "headrace_inference_request_seconds",
    "Time from a request's admission to its answer, transport excluded.",
    _LABELS,
    buckets=LATENCY_BUCKETS,
)
EVENTS = Histogram("headrace_inference_request_events", "Events in one request.", _LABELS, buckets=SIZE_BUCKETS)
PHASES = Histogram(
    "headrace_inference_phase_seconds",
    "Where a request's time went: queue, compute_input (events and features), compute_infer (the network), compute_output.",
    [*_LABELS, "phase"],
    buckets=(0.00001, 0.00002, 0.00005, 0.0001, 0.0002, *LATENCY_BUCKETS),
)


class RpcMetrics:
    """Observes requests. Times come in ns and go out in seconds."""

    def __init__(self, model: str) -> None:
        self._success, self._failure = REQUESTS.labels(model, "success"), REQUESTS.labels(model, "failure")
        self._seconds, self._events = SECONDS.labels(model), EVENTS.labels(model)
        self._queue, self._input = PHASES.labels(model, "queue"), PHASES.labels(model, "compute_input")
        self._infer, self._output = PHASES.labels(model, "compute_infer"), PHASES.labels(model, "compute_output")

    def succeeded(self, total_ns: int, phases: Phases, events: int) -> None:
        """A request of `events` events was answered."""
        self._success.inc()
        self._seconds.observe(total_ns * 1e-9)
        self._events.observe(events)
        self._queue.observe(phases.queue * 1e-9)
        self._input.observe(phases.compute_input * 1e-9)
        self._infer.observe(phases.compute_infer * 1e-9)
        self._output.observe(phases.compute_output * 1e-9)

    def failed(self, total_ns: int) -> None:
        """A request was answered with an error."""
        self._failure.inc()
        self._seconds.observe(total_ns * 1e-9)


class ProtocolCollector(Collector):
    """The names that dashboards of the Open Inference Protocol read, from the protocol's own statistics.

    They carry no version: one lives for seconds here, and a series each would outgrow any store. Durations are counters
    of µs. They are exposed as untyped, since a counter's sample would have to end in _total.
    """

    def __init__(self, model: str, statistics: Statistics, registry: CollectorRegistry = REGISTRY) -> None:
        self._model, self._statistics = model, statistics
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The current values."""
        s = self._statistics
        values = {
            "nv_inference_request_success": ("Requests answered.", s.success.count),
            "nv_inference_request_failure": ("Requests answered with an error.", s.fail.count),
            "nv_inference_count": ("Events predicted.", s.inference_count),
            "nv_inference_exec_count": ("Executions of the network.", s.execution_count),
            "nv_inference_request_duration_us": ("Time of requests, in total.", s.success.ns // 1000),
            "nv_inference_queue_duration_us": ("Time that requests waited to be executed.", s.queue.ns // 1000),
            "nv_inference_compute_input_duration_us": ("Time making events and features.", s.compute_input.ns // 1000),
            "nv_inference_compute_infer_duration_us": ("Time in the network.", s.compute_infer.ns // 1000),
            "nv_inference_compute_output_duration_us": ("Time making answers.", s.compute_output.ns // 1000),
        }
        for name, (doc, value) in values.items():
            metric = Metric(name, doc, "unknown")
            metric.add_sample(name, {"model": self._model}, float(value))
            yield metric
