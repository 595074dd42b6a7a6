"""Samples of a process's metrics: what Prometheus would make of them."""

import msgspec
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from headrace.contracts.records import Sample, Samples
from headrace.contracts.snapshot import (
    Counts,
    Metrics,
    ModelStatus,
    Quantiles,
    Rates,
    Score,
    Snapshot,
    Versions,
    VersionScore,
)  # fmt: skip
from services.archive.sampling import Sampler, Target
from services.archive.scraping import Process, parse, quantile, snapshot_samples


def by_name(samples: list[Sample]) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {}
    for one in samples:
        found.setdefault(one.metric, []).append(one)
    return found


def test_gauges_counters_and_histograms_become_samples() -> None:
    registry = CollectorRegistry()
    gauge = Gauge("headrace_x_lag", "Lag.", ["pipeline", "model", "version", "slice", "who"], registry=registry)
    counter = Counter("headrace_x_records", "Records.", ["topic"], registry=registry)
    histogram = Histogram("headrace_x_seconds", "Time.", buckets=(0.1, 0.2, 0.4), registry=registry)
    Gauge("python_info", "Not ours.", registry=registry)
    process = Process("stream", "stream-1")
    gauge.labels("toy", "m", "7", "zone=4", 'a "b"\n\\c').set(3.5)
    counter.labels("t").inc(100)
    histogram.observe(0.15)
    first = by_name(process.samples(generate_latest(registry).decode(), 10.0))
    own = {"role": "stream", "instance": "stream-1"}
    assert first == {"headrace_x_lag": [Sample("headrace_x_lag", 3.5, "m", 7, "zone=4", {**own, "who": 'a "b"\n\\c'})]}
    counter.labels("t").inc(50)
    for value in (0.15, 0.15, 0.3, 0.3):
        histogram.observe(value)
    second = by_name(process.samples(generate_latest(registry).decode(), 15.0))
    assert second["headrace_x_records_per_second"] == [
        Sample("headrace_x_records_per_second", 10.0, labels={**own, "topic": "t"})
    ]
    assert second["headrace_x_seconds_per_second"][0].value == pytest.approx(0.8)
    assert second["headrace_x_seconds_p50"][0].value == pytest.approx(0.2)
    assert second["headrace_x_seconds_p99"][0].value == pytest.approx(0.396)
    assert len(second) == 5


def test_a_process_that_began_anew_has_no_negative_rate() -> None:
    process, text = Process("r", "i"), "# TYPE headrace_a_total counter\nheadrace_a_total {}\n"
    process.samples(text.format(100.0), 0.0)
    (one,) = process.samples(text.format(20.0), 10.0)
    assert one.value == 2.0


def test_quantiles_are_prometheus_own() -> None:
    inf = float("inf")
    assert quantile([(1.0, 0.0), (2.0, 10.0), (inf, 10.0)], 0.5) == 1.5
    assert quantile([(1.0, 4.0), (inf, 10.0)], 0.99) == 1.0


def test_what_is_no_sample_is_passed_over() -> None:
    assert parse("nonsense\nheadrace_x\n# HELP headrace_x\nheadrace_monitor_lag 4\n\n").gauges == {}


def snapshot() -> Snapshot:
    return Snapshot(
        "toy", 1, 1,
        counts=Counts(duplicates=2), rates=Rates(5.0, 4.0, 3.0), model=Score(1.5, 1.25),
        baselines={"zero": Score(2.0, 3.0)},
        metrics={"model": Metrics(window={"auc": 0.75}), "zero": Metrics(window={"auc": 0.5})},
        by_version=(VersionScore(3, 10, 1.0, metrics={"auc": 0.8}),), versions=Versions(newest=4, active=3),
        latency=Quantiles(9, 0.01, 0.02), lag={"join": 7},
        models=(ModelStatus("toy", "champion"), ModelStatus("toy.s", "shadow", score=Score(1.0, 1.1))),
    )  # fmt: skip


def test_the_monitors_snapshot_becomes_samples_by_model_and_version() -> None:
    found = by_name(snapshot_samples(snapshot()))
    assert {(s.value, s.model, s.version, s.labels.get("baseline", "")) for s in found["error"]} == {
        (1.25, "toy", 0, ""), (3.0, "toy", 0, "zero"), (1.0, "toy", 3, ""), (1.1, "toy.s", 0, ""),
    }  # fmt: skip
    assert {(s.value, s.version, s.labels.get("baseline", "")) for s in found["auc"]} == {
        (0.75, 0, ""), (0.5, 0, "zero"), (0.8, 3, ""),
    }  # fmt: skip
    assert [(s.value, s.labels) for s in found["lag"]] == [(7.0, {"role": "join"})]
    assert {name: found[name][0].value for name in ("latency_seconds_p99", "events_per_second", "duplicates")} == {
        "latency_seconds_p99": 0.02, "events_per_second": 5.0, "duplicates": 2.0,
    }  # fmt: skip
    assert "freshness_seconds_p50" not in found


class Sent(list[Samples]):
    def send(self, samples: Samples) -> None:
        self.append(samples)


def test_a_round_asks_every_process_and_leaves_out_what_is_too_much() -> None:
    pages = {
        "http://m/metrics": b"# TYPE headrace_a gauge\nheadrace_a 1\n",
        "http://m-rest/v1/snapshot": msgspec.json.encode(snapshot()),
        "http://s/metrics": b"# TYPE headrace_b gauge\nheadrace_b 2\n",
    }
    targets = [Target("monitor", "monitor", "http://m", "http://m-rest"), Target("x", "gone", "http://gone")]
    targets.append(Target("stream", "stream", "http://s/"))
    sent = Sent()
    asked = lambda url, _: pages.get(url)  # noqa: E731
    sampler = Sampler("toy", lambda: targets, sent, most=1000, ask=asked, wall=lambda: 5.0, clock=lambda: 1.0)
    count = sampler.round()
    assert [(one.source, one.at_us) for one in sent] == [("monitor", 5_000_000), ("stream", 5_000_000)]
    assert count == sum(len(one.samples) for one in sent) > 20
    few = Sent()
    assert Sampler("toy", lambda: targets, few, most=3, ask=asked).round() == 3
    pages["http://m-rest/v1/snapshot"] = b"{"
    assert Sampler("toy", lambda: targets, Sent(), most=1000, ask=asked).round() == 2
