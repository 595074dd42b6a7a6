"""Metrics of the role `rpc`: the statistics' values under our names and under those of the protocol's dashboards."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from services.inference.rpc.statistics import Histogram, Statistics

Counted = Callable[[], Iterable[tuple[str, Statistics]]]


class ProtocolCollector(Collector):
    """Exposes the statistics of all models.

    The protocol's names carry no version: one lives for seconds here, and a series each would outgrow any store. Their
    durations are counters of µs. They are exposed as untyped, since a counter's sample would have to end in _total.

    Args:
        counted: gives each model's name and statistics.
        registry: where it registers.
    """

    def __init__(self, counted: Counted, registry: CollectorRegistry = REGISTRY) -> None:
        self._counted = counted
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The current values."""
        models = list(self._counted())
        yield from _ours(models)
        yield from _protocols(models)


_Models = Sequence[tuple[str, Statistics]]


def _ours(models: _Models) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "headrace_inference_requests_total",
        "Requests to predict, by outcome: success or failure.",
        labels=["model", "outcome"],
    )
    for model, s in models:
        requests.add_metric([model, "success"], s.success.count)
        requests.add_metric([model, "failure"], s.fail.count)
    yield requests
    for name, attribute, doc in (
        ("request_seconds", "seconds", "Time from a request's admission to its answer, transport excluded."),
        ("request_events", "events", "Events in one request."),
        ("batch_events", "batch_events", "Events executed together, of one request or of several."),
    ):
        family = HistogramMetricFamily(f"headrace_inference_{name}", doc, labels=["model"])
        for model, s in models:
            _add(family, [model], getattr(s, attribute))
        yield family
    doc = (
        "Where time went: queue of each request; of each execution compute_input (events and features), "
        "compute_infer (the network) and compute_output."
    )
    phases = HistogramMetricFamily("headrace_inference_phase_seconds", doc, labels=["model", "phase"])
    for model, s in models:
        for phase, histogram in s.phases.items():
            _add(phases, [model, phase], histogram)
    yield phases


def _add(family: HistogramMetricFamily, labels: Sequence[str], histogram: Histogram) -> None:
    family.add_metric(labels, buckets=histogram.cumulative(), sum_value=histogram.sum)


_PROTOCOLS: Mapping[str, tuple[str, Callable[[Statistics], int]]] = {
    "nv_inference_request_success": ("Requests answered.", lambda s: s.success.count),
    "nv_inference_request_failure": ("Requests answered with an error.", lambda s: s.fail.count),
    "nv_inference_count": ("Events predicted.", lambda s: s.inference_count),
    "nv_inference_exec_count": ("Executions of the network.", lambda s: s.execution_count),
    "nv_inference_request_duration_us": ("Time of requests, in total.", lambda s: s.success.ns // 1000),
    "nv_inference_queue_duration_us": ("Time that requests waited to be executed.", lambda s: s.queue.ns // 1000),
    "nv_inference_compute_input_duration_us": (
        "Time making events and features.",
        lambda s: s.compute.compute_input.ns // 1000,
    ),
    "nv_inference_compute_infer_duration_us": (
        "Time in the network.",
        lambda s: s.compute.compute_infer.ns // 1000,
    ),
    "nv_inference_compute_output_duration_us": (
        "Time making answers.",
        lambda s: s.compute.compute_output.ns // 1000,
    ),
    "nv_cache_num_hits_per_model": ("Requests answered from the response cache.", lambda s: s.cache_hit.count),
    "nv_cache_num_misses_per_model": ("Requests that the cache had no answer to.", lambda s: s.cache_miss.count),
    "nv_cache_hit_duration_per_model": ("µs finding answers in the cache.", lambda s: s.cache_hit.ns // 1000),
    "nv_cache_miss_duration_per_model": (
        "µs looking for answers that the cache did not have, and keeping them.",
        lambda s: s.cache_miss.ns // 1000,
    ),
}


def _protocols(models: _Models) -> Iterator[Metric]:
    for name, (doc, value) in _PROTOCOLS.items():
        metric = Metric(name, doc, "unknown")
        for model, statistics in models:
            metric.add_sample(name, {"model": model}, float(value(statistics)))
        yield metric
