"""Metrics of the role `rpc`: the statistics' values under our names and under those of the protocol's dashboards."""

from collections.abc import Iterator

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from services.inference.rpc.statistics import Histogram, Statistics


class ProtocolCollector(Collector):
    """Exposes one model's statistics.

    The protocol's names carry no version: one lives for seconds here, and a series each would outgrow any store. Their
    durations are counters of µs. They are exposed as untyped, since a counter's sample would have to end in _total.
    """

    def __init__(self, model: str, statistics: Statistics, registry: CollectorRegistry = REGISTRY) -> None:
        self._model, self._statistics = model, statistics
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The current values."""
        yield from self._ours()
        yield from self._protocols()

    def _ours(self) -> Iterator[Metric]:
        s = self._statistics
        requests = CounterMetricFamily(
            "headrace_inference_requests_total",
            "Requests to predict, by outcome: success or failure.",
            labels=["model", "outcome"],
        )
        requests.add_metric([self._model, "success"], s.success.count)
        requests.add_metric([self._model, "failure"], s.fail.count)
        yield requests
        for name, doc, histogram in (
            ("request_seconds", "Time from a request's admission to its answer, transport excluded.", s.seconds),
            ("request_events", "Events in one request.", s.events),
            ("batch_events", "Events executed together, of one request or of several.", s.batch_events),
        ):
            yield self._histogram(f"headrace_inference_{name}", doc, {(): histogram}, ())
        phases: dict[tuple[str, ...], Histogram] = {(phase,): histogram for phase, histogram in s.phases.items()}
        doc = (
            "Where time went: queue of each request; of each execution compute_input (events and features), "
            "compute_infer (the network) and compute_output."
        )
        yield self._histogram("headrace_inference_phase_seconds", doc, phases, ("phase",))

    def _histogram(
        self, name: str, doc: str, parts: dict[tuple[str, ...], Histogram], labels: tuple[str, ...]
    ) -> Metric:
        family = HistogramMetricFamily(name, doc, labels=["model", *labels])
        for values, histogram in parts.items():
            family.add_metric([self._model, *values], buckets=histogram.cumulative(), sum_value=histogram.sum)
        return family

    def _protocols(self) -> Iterator[Metric]:
        s = self._statistics
        compute = s.compute
        values = {
            "nv_inference_request_success": ("Requests answered.", s.success.count),
            "nv_inference_request_failure": ("Requests answered with an error.", s.fail.count),
            "nv_inference_count": ("Events predicted.", s.inference_count),
            "nv_inference_exec_count": ("Executions of the network.", s.execution_count),
            "nv_inference_request_duration_us": ("Time of requests, in total.", s.success.ns // 1000),
            "nv_inference_queue_duration_us": ("Time that requests waited to be executed.", s.queue.ns // 1000),
            "nv_inference_compute_input_duration_us": (
                "Time making events and features.",
                compute.compute_input.ns // 1000,
            ),
            "nv_inference_compute_infer_duration_us": ("Time in the network.", compute.compute_infer.ns // 1000),
            "nv_inference_compute_output_duration_us": ("Time making answers.", compute.compute_output.ns // 1000),
            "nv_cache_num_hits_per_model": ("Requests answered from the response cache.", s.cache_hit.count),
            "nv_cache_num_misses_per_model": ("Requests that the cache had no answer to.", s.cache_miss.count),
            "nv_cache_hit_duration_per_model": ("µs finding answers in the cache.", s.cache_hit.ns // 1000),
            "nv_cache_miss_duration_per_model": (
                "µs looking for answers that the cache did not have, and keeping them.",
                s.cache_miss.ns // 1000,
            ),
        }
        for name, (doc, value) in values.items():
            metric = Metric(name, doc, "unknown")
            metric.add_sample(name, {"model": self._model}, float(value))
            yield metric
