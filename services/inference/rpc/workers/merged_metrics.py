"""The metrics of several workers as one process's: counters and histograms summed, gauges with a label `worker`."""

from collections.abc import Callable, Iterator

from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from headrace.runtime.http import fetch

_OWN = ("process_", "python_", "headrace_build", "headrace_ready")
"""What the main process has of its own."""
_SUMMED = ("counter", "histogram", "summary", "unknown")

_Sample = tuple[str, tuple[tuple[str, str], ...]]
_Families = dict[str, Metric]


class MergedMetrics(Collector):
    """Asks the workers at every scrape.

    A worker that has ended stays in the sums with what it said last, so that no counter falls.

    Args:
        ops: gives each worker's process id and the URL of its ops server.
    """

    def __init__(self, ops: Callable[[], dict[str, tuple[int, str]]]) -> None:
        self._ops = ops
        self._known: dict[tuple[str, int], _Families] = {}
        REGISTRY.register(self)

    def describe(self) -> list[Metric]:
        """None: what there is depends on the workers."""
        return []

    def close(self) -> None:
        """Expose nothing any more."""
        REGISTRY.unregister(self)

    def collect(self) -> Iterator[Metric]:
        """The current values."""
        live = {(worker, pid): url for worker, (pid, url) in self._ops().items()}
        for one, url in live.items():
            body = fetch(f"{url}/metrics")
            if body is not None:
                found = text_string_to_metric_families(body.decode())
                self._known[one] = {family.name: family for family in found if not family.name.startswith(_OWN)}
        return merged({one: (families, one in live) for one, families in dict(self._known).items()})


def merged(known: dict[tuple[str, int], tuple[_Families, bool]]) -> Iterator[Metric]:
    """Every family once; `known` has each process's families, and whether it still runs."""
    made: dict[str, Metric] = {}
    sums: dict[str, dict[_Sample, float]] = {}
    for (worker, _), (families, lives) in known.items():
        for name, family in families.items():
            metric = made.setdefault(name, Metric(name, family.documentation, family.type))
            for sample in family.samples:
                if family.type in _SUMMED:
                    if not sample.name.endswith("_created"):
                        key = (sample.name, tuple(sample.labels.items()))
                        values = sums.setdefault(name, {})
                        values[key] = values.get(key, 0.0) + sample.value
                elif lives:
                    metric.add_sample(sample.name, {**sample.labels, "worker": worker}, sample.value)
    for name, metric in made.items():
        for (sample_name, labels), value in sums.get(name, {}).items():
            metric.add_sample(sample_name, dict(labels), value)
        yield metric
