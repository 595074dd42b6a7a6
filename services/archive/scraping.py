"""Samples from what a process has at /metrics, and from the monitor's snapshot.

Of counters the change per second is kept, of histograms that and two quantiles, each between two rounds: so the first
round of a process has none.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from headrace.contracts.records import Sample
from headrace.contracts.snapshot import Metrics, ModelStatus, Quantiles, Score, Snapshot

PREFIX = "headrace_"
_LEFT_OUT = ("headrace_build", "headrace_monitor_")  # the monitor's come from its snapshot
_QUANTILES = {"p50": 0.5, "p99": 0.99}
_LINE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \S+)?")
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
_ESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}

Labels = tuple[tuple[str, str], ...]
Totals = dict[tuple[str, Labels], float]


@dataclass
class Exposition:
    """What one process's /metrics said at one time."""

    gauges: Totals = field(default_factory=dict)
    counters: Totals = field(default_factory=dict)
    buckets: dict[tuple[str, Labels], list[tuple[float, float]]] = field(default_factory=dict)
    """By histogram and labels: (upper bound, observations up to it), in order."""


def parse(text: str) -> Exposition:
    """Headrace's own metrics in Prometheus's text format; lines that are no samples are passed over."""
    found, kinds = Exposition(), dict[str, str]()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ", 3)
            kinds[name] = kind
        elif line.startswith(PREFIX) and not line.startswith(_LEFT_OUT) and (part := _LINE.fullmatch(line)):
            _take(found, kinds, part[1], _labels(part[2] or ""), float(part[3]))
    return found


def _take(found: Exposition, kinds: Mapping[str, str], name: str, labels: dict[str, str], value: float) -> None:
    base = name.removesuffix("_bucket")
    if base != name and kinds.get(base) == "histogram":
        bound = float(labels.pop("le"))
        found.buckets.setdefault((base, _ordered(labels)), []).append((bound, value))
    elif kinds.get(name) == "gauge" and not name.endswith("_created"):
        found.gauges[name, _ordered(labels)] = value
    elif name.endswith("_total") and kinds.get(name) in {"counter", None}:
        found.counters[name.removesuffix("_total"), _ordered(labels)] = value


def _labels(text: str) -> dict[str, str]:
    return {name: re.sub(r"\\.", lambda m: _ESCAPED.get(m[0], m[0]), value) for name, value in _LABEL.findall(text)}


def _ordered(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


class Process:
    """One process's metrics from round to round.

    Args:
        role, instance: of the process; labels of its samples.
    """

    def __init__(self, role: str, instance: str) -> None:
        self._own = {"role": role, "instance": instance}
        self._before: tuple[float, Exposition] | None = None

    def samples(self, text: str, at: float) -> list[Sample]:
        """The samples of a round, at `at` seconds of any clock. Values that are no numbers are left out."""
        found, before = parse(text), self._before
        self._before = (at, found)
        made = [self._sample(name, labels, value) for (name, labels), value in found.gauges.items()]
        if before is not None and at > before[0]:
            made += self._changes(found, before[1], at - before[0])
        return [one for one in made if math.isfinite(one.value)]

    def _changes(self, found: Exposition, before: Exposition, seconds: float) -> Iterator[Sample]:
        for key, value in found.counters.items():
            yield self._sample(f"{key[0]}_per_second", key[1], _grown(value, before.counters.get(key, 0.0)) / seconds)
        for key, buckets in found.buckets.items():
            earlier = dict(before.buckets.get(key, ()))
            grown = [(bound, _grown(count, earlier.get(bound, 0.0))) for bound, count in buckets]
            yield self._sample(f"{key[0]}_per_second", key[1], grown[-1][1] / seconds)
            for suffix, share in _QUANTILES.items():
                if grown[-1][1] > 0:
                    yield self._sample(f"{key[0]}_{suffix}", key[1], quantile(grown, share))

    def _sample(self, name: str, labels: Labels, value: float) -> Sample:
        rest = {**self._own, **dict(labels)}
        rest.pop("pipeline", None)
        model, part, version = rest.pop("model", ""), rest.pop("slice", ""), rest.get("version", "")
        if version.isdigit():
            del rest["version"]
        return Sample(name, value, model, int(version) if version.isdigit() else 0, part, rest)


def _grown(value: float, before: float) -> float:
    """How much a counter has grown; one that is below what it was has begun anew."""
    return value - before if value >= before else value


def quantile(buckets: list[tuple[float, float]], share: float) -> float:
    """A quantile from cumulative buckets, linear within one, as Prometheus's histogram_quantile does."""
    total = buckets[-1][1]
    rank, low, below = share * total, 0.0, 0.0
    for bound, count in buckets:
        if count >= rank:
            if math.isinf(bound):
                return low
            return low + (bound - low) * ((rank - below) / (count - below) if count > below else 1.0)
        low, below = bound, count
    return low


def snapshot_samples(snapshot: Snapshot) -> list[Sample]:
    """What the monitor knows of a pipeline and its models, as samples."""
    champion = snapshot.pipeline
    made = [
        *_errors(champion, "", snapshot.model),
        *(one for name, score in snapshot.baselines.items() for one in _errors(champion, name, score)),
        *(
            one
            for name, metrics in snapshot.metrics.items()
            for one in _task(champion, "" if name == "model" else name, metrics)
        ),
        *_versions(snapshot),
        *_flow(snapshot),
        *(one for model in snapshot.models for one in _model(model) if model.model != champion),
    ]
    return [one for one in made if math.isfinite(one.value)]


def _labelled(baseline: str) -> dict[str, str]:
    return {"baseline": baseline} if baseline else {}


def _errors(model: str, baseline: str, score: Score) -> Iterator[Sample]:
    for name, value in (("error", score.window), ("error_whole", score.mean)):
        if value is not None:
            yield Sample(name, value, model, labels=_labelled(baseline))


def _task(model: str, baseline: str, metrics: Metrics) -> Iterable[Sample]:
    return (Sample(name, value, model, labels=_labelled(baseline)) for name, value in metrics.window.items())


def _versions(snapshot: Snapshot) -> Iterator[Sample]:
    for one in snapshot.by_version:
        model = one.model or snapshot.pipeline
        yield Sample("error", one.mean, model, one.version)
        yield Sample("labelled", float(one.count), model, one.version)
        for name, value in one.metrics.items():
            yield Sample(name, value, model, one.version)


def _flow(snapshot: Snapshot) -> Iterator[Sample]:
    model, counts = snapshot.pipeline, snapshot.counts
    for name in ("events", "labels", "predictions"):
        yield Sample(f"{name}_per_second", getattr(snapshot.rates, name), model)
    for name in ("duplicates", "missing", "unpredicted", "dead_letters", "unreadable", "expired"):
        yield Sample(name, float(getattr(counts, name)), model)
    yield from _quantiles("latency_seconds", model, snapshot.latency)
    yield from _quantiles("freshness_seconds", model, snapshot.freshness)
    for role, records in snapshot.lag.items():
        yield Sample("lag", float(records), model, labels={"role": role})
    yield Sample("version_newest", float(snapshot.versions.newest), model)
    yield Sample("version_active", float(snapshot.versions.active), model)
    yield Sample("alerts", float(len(snapshot.alerts)), model)


def _quantiles(name: str, model: str, found: Quantiles) -> Iterator[Sample]:
    for quantile_name, value in (("p50", found.p50), ("p99", found.p99)):
        if value is not None:
            yield Sample(f"{name}_{quantile_name}", value, model)


def _model(status: ModelStatus) -> Iterator[Sample]:
    yield from _errors(status.model, "", status.score)
    yield from _task(status.model, "", status.metrics)
    yield Sample("version_newest", float(status.versions.newest), status.model)
    yield Sample("version_active", float(status.versions.active), status.model)
