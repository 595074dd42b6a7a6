"""The monitor as a whole, fed by hand."""

from typing import Any

import msgspec
import pytest

from headrace.contracts import snapshot as contract
from headrace.contracts.events_pb2 import CheckpointPublished, DeadLetter, RolloutDirective, WeightsApplied
from headrace.contracts.records import Prediction
from headrace.evaluation.judge import Judge
from headrace.evaluation.scores import Spans
from headrace.evaluation.tasks import task_of
from services.monitor.metrics import (
    DUPLICATES,
    ERROR_MEAN,
    FRESHNESS,
    LATENCY,
    MODEL_ERROR_MEAN,
    MODEL_SCORED,
    RECORDS,
    TASK_METRIC,
    Durations,
    Exporter,
)
from services.monitor.models import WatchedModel
from services.monitor.service import Monitor, Record, Watched

EVENTS, LABELS = ("toy.events", 0), ("toy.labels", 0)


class Zero:
    """A baseline that knows nothing."""

    def predict(self, event: Any) -> float:
        return 0.0

    def learn(self, event: Any, label: Any) -> None:
        pass


def monitor(*, observer: Durations | None = None, **changes: Any) -> Monitor:
    fields = {
        "judge": Judge(task_of("regression"), error=lambda p, label: abs(p - label)),
        "baselines": {"zero": Zero()},
        "spans": Spans(10),
        "error_unit": "min",
    }
    watched = Watched(pipeline="toy", **{**fields, **changes})
    return Monitor(watched, started=0.0, lanes=[EVENTS, LABELS], observer=observer)


def prediction(offset: int, value: float = 1.0, version: int = 1) -> Record:
    made = Prediction(
        f"k{offset}", value, "toy", version, "d", (0, offset), 1000 + offset, (1000 + offset) * 1000 + 5000
    )
    return Record(2, offset, 1.0, made.key.encode(), made)


def feed(watching: Monitor, count: int, label: float = 3.0) -> None:
    for offset in range(count):
        key = f"k{offset}".encode()
        watching.event(EVENTS, Record(0, offset, 1.0 + offset, key, {"x": offset}))
        watching.label(LABELS, Record(0, offset, 1.5 + offset, key, label))
        watching.prediction(prediction(offset))
    watching.at_end(EVENTS)
    watching.at_end(LABELS)
    watching.settle()


def test_a_snapshot_of_a_river_that_flows() -> None:
    watching = monitor()
    watching.tick(0.0)
    feed(watching, 20)
    assert watching.tick(2.0) == []
    seen = watching.snapshot(2.0)
    assert (seen.counts.events, seen.counts.labels, seen.counts.predictions, seen.counts.joined) == (20, 20, 20, 20)
    assert (seen.counts.duplicates, seen.counts.missing, seen.counts.unpredicted) == (0, 0, 0)
    assert (seen.rates.events, seen.rates.predictions) == (10.0, 10.0)
    assert (seen.model.mean, seen.model.window, seen.baselines["zero"].mean) == (2.0, 2.0, 3.0)
    assert seen.latency.p50 == pytest.approx(0.005)
    assert seen.lag["stream"] == 0
    assert seen.by_version[0].count == 20
    assert len(seen.history) == 1


def test_the_snapshot_is_what_its_readers_expect() -> None:
    watching = monitor()
    feed(watching, 3)
    watching.tick(1.0)
    seen = watching.snapshot(1.0)
    assert contract.decode(msgspec.json.encode(seen)) == seen


def test_a_reader_skips_fields_that_it_does_not_know() -> None:
    body = msgspec.json.encode({"pipeline": "toy", "at_us": 1, "started_us": 0, "of_tomorrow": [1]})
    assert contract.decode(body).pipeline == "toy"


def test_a_duplicate_on_the_sink_is_counted_and_not_scored() -> None:
    watching = monitor()
    feed(watching, 2)
    watching.prediction(prediction(0, value=99.0))
    seen = watching.snapshot(1.0)
    assert (seen.counts.predictions, seen.counts.duplicates, seen.counts.joined) == (3, 1, 2)
    assert seen.model.mean == 2.0


def test_a_dead_letter_is_no_gap() -> None:
    watching = monitor()
    for offset in range(3):
        watching.event(EVENTS, Record(0, offset, 1.0, b"k", None))
    watching.prediction(prediction(0))
    watching.prediction(prediction(2))
    assert watching.snapshot(1.0).counts.missing == 1
    watching.dead_letter(DeadLetter(topic="toy.events", partition=0, offset=1))
    counts = watching.snapshot(1.0).counts
    assert (counts.missing, counts.dead_letters) == (0, 1)


def test_other_models_records_are_not_ours() -> None:
    watching = monitor()
    watching.checkpoint(CheckpointPublished(model="other", version=7))
    watching.directive(RolloutDirective(model="other", version=7, sequence=1, action=RolloutDirective.ACTIVATE))
    watching.applied(WeightsApplied(model="other", worker="w", state=WeightsApplied.ACTIVE, version=7))
    seen = watching.snapshot(1.0)
    assert (seen.versions.newest, seen.versions.active, seen.workers) == (0, 0, ())


def test_code_of_the_authors_that_raises_costs_one_record() -> None:
    def error(prediction: float, label: float) -> float:
        raise ValueError("no such label")

    watching = monitor(judge=Judge(task_of("regression"), error=error))
    feed(watching, 4)
    assert watching.snapshot(1.0).counts.unreadable >= 4
    assert watching.snapshot(1.0).counts.predictions == 4


def test_only_the_sample_is_scored_and_everything_is_counted() -> None:
    watching = monitor(sample=0.5)
    for offset in range(200):
        key = f"k{offset}".encode()
        followed = watching.follows(key)
        watching.event(EVENTS, Record(0, offset, 1.0, key, {} if followed else None))
        watching.label(LABELS, Record(0, offset, 1.0, key, 3.0 if followed else None))
        watching.prediction(prediction(offset))
    watching.at_end(EVENTS)
    watching.at_end(LABELS)
    watching.settle()
    counts = watching.snapshot(1.0).counts
    assert (counts.events, counts.predictions, counts.missing) == (200, 200, 0)
    assert counts.joined == sum(watching.follows(f"k{i}".encode()) for i in range(200))


def test_a_worker_that_failed_raises_an_alert() -> None:
    watching = monitor()
    watching.applied(WeightsApplied(model="toy", worker="w", state=WeightsApplied.FAILED, version=2, error="no chunk"))
    alerts = watching.tick(1.0)
    assert [(a.name, a.model, a.firing) for a in alerts] == [("worker_failed", "toy", True)]
    assert [f.name for f in watching.snapshot(1.0).alerts] == ["worker_failed"]


def test_metrics_follow_the_snapshots() -> None:
    watching, exporter = monitor(), Exporter()
    feed(watching, 4)
    watching.prediction(prediction(0))
    exporter.export(watching.snapshot(1.0))
    exporter.export(watching.snapshot(1.0))
    assert RECORDS.labels("toy", "events")._value.get() == 4
    assert DUPLICATES.labels("toy")._value.get() == 1
    assert ERROR_MEAN.labels("toy", "zero")._value.get() == 3.0


def test_durations_go_into_histograms_that_add_up_over_monitors() -> None:
    watching = monitor(observer=Durations("aged"))
    watching.checkpoint(CheckpointPublished(model="toy", version=2, newest_label_us=500_000))
    for offset in range(8):
        watching.prediction(prediction(offset, version=1 if offset < 4 else 2))
    buckets = FRESHNESS.labels("aged", "toy")._buckets
    assert [bound for bound, n in zip(FRESHNESS._upper_bounds, buckets, strict=True) if n.get()] == [1.0]
    assert FRESHNESS.labels("aged", "toy")._sum.get() == pytest.approx(0.509)
    assert LATENCY.labels("aged")._sum.get() == pytest.approx(2 * 0.005)  # one in four of what came 5 ms later


OTHERS = (WatchedModel("toy.c", "canary", 0.25), WatchedModel("toy.s", "shadow"))


def made_by(model: str, offset: int, value: float, version: int = 1) -> Record:
    record = prediction(offset, value, version)
    return record._replace(value=msgspec.structs.replace(record.value, model=model))


def several(count: int = 20) -> Monitor:
    """Each fourth event is the canary's; the shadow predicts each, nearer to the label of 3 than both."""
    watching = monitor(others=OTHERS)
    for offset in range(count):
        key = f"k{offset}".encode()
        watching.event(EVENTS, Record(0, offset, 1.0 + offset, key, {"x": offset}))
        if offset % 2:
            watching.shadow(made_by("toy.s", offset, 2.5, version=9))
        watching.label(LABELS, Record(0, offset, 1.5 + offset, key, 3.0))
        watching.prediction(
            made_by("toy.c", offset, 2.0, version=1) if offset % 4 == 0 else made_by("toy", offset, 1.0)
        )
        if not offset % 2:
            watching.shadow(made_by("toy.s", offset, 2.5, version=9))
    watching.at_end(EVENTS)
    watching.at_end(LABELS)
    watching.settle()
    watching.tick(30.0)
    return watching


def test_each_of_several_models_is_scored_apart_and_a_shadow_is_none_of_what_was_served() -> None:
    seen = several().snapshot(1.0)
    assert (seen.counts.predictions, seen.counts.joined, seen.counts.duplicates) == (20, 20, 0)
    assert seen.model.mean == (15 * 2.0 + 5 * 1.0) / 20
    assert [(m.model, m.role, m.share, m.predictions, m.scored, m.score.mean) for m in seen.models] == [
        ("toy", "champion", None, 15, 15, 2.0),
        ("toy.c", "canary", 0.25, 5, 5, 1.0),
        ("toy.s", "shadow", None, 20, 20, 0.5),
    ]
    assert {(v.model, v.version, v.count) for v in seen.by_version} == {("toy", 1, 15), ("toy.c", 1, 5)}
    assert [m.versions.serving for m in seen.models] == [(1,), (1,), (9,)]
    assert contract.decode(msgspec.json.encode(seen)) == seen


def test_a_shadows_second_prediction_of_an_event_is_counted_and_not_scored() -> None:
    watching = several()
    watching.shadow(made_by("toy.s", 3, 99.0))
    watching.shadow(made_by("gone", 3, 99.0))
    shadow = watching.snapshot(1.0).models[2]
    assert (shadow.predictions, shadow.duplicates, shadow.scored, shadow.score.mean) == (20, 1, 20, 0.5)


def test_every_model_has_versions_workers_and_alerts_of_its_own() -> None:
    watching = monitor(others=OTHERS)
    watching.checkpoint(CheckpointPublished(model="toy.s", version=7))
    watching.directive(RolloutDirective(model="toy.s", version=6, sequence=1, action=RolloutDirective.ACTIVATE))
    watching.applied(
        WeightsApplied(model="toy.s", worker="w", state=WeightsApplied.FAILED, version=7, error="no chunk")
    )
    assert [(a.name, a.model, a.id) for a in watching.tick(1.0)] == [
        ("worker_failed", "toy.s", "toy.s/worker_failed/w")
    ]
    seen = watching.snapshot(1.0)
    assert (seen.versions.newest, seen.workers) == (0, ())
    assert [(m.versions.newest, m.versions.active, len(m.workers)) for m in seen.models] == [
        (0, 0, 0),
        (0, 0, 0),
        (7, 6, 1),
    ]
    assert [(f.name, f.model) for f in seen.alerts] == [("worker_failed", "toy.s")]
    assert set(watching.checkpoint_offsets) == {"trainer", "trainer toy.c", "trainer toy.s"}


def test_of_one_model_nothing_is_told_apart() -> None:
    watching = monitor()
    feed(watching, 4)
    assert watching.snapshot(1.0).models == ()
    assert set(watching.checkpoint_offsets) == {"trainer"}


def test_a_shadows_waiting_predictions_and_labels_are_bounded() -> None:
    watching = monitor(others=OTHERS, limit=10)
    for offset in range(50):
        watching.shadow(made_by("toy.s", offset, 1.0))
    watching.tick(1.0)
    for offset in range(50):
        watching.label(LABELS, Record(0, offset, 1.0, f"k{offset}".encode(), 3.0))
    assert watching.snapshot(1.0).models[2].scored == 10


def test_metrics_name_the_model() -> None:
    watching, exporter = several(), Exporter()
    exporter.export(watching.snapshot(1.0))
    exporter.export(watching.snapshot(1.0))
    assert MODEL_SCORED.labels("toy", "toy.s")._value.get() == 20
    assert MODEL_ERROR_MEAN.labels("toy", "toy.c")._value.get() == 1.0


def test_a_tasks_metrics_are_in_the_snapshot_and_exported() -> None:
    watching = monitor(judge=Judge(task_of("binary"), target=lambda label: label > 2), baselines={}, error_unit="")
    feed(watching, 20)
    seen = watching.snapshot(21.0)
    assert (seen.task, seen.error_name, seen.window, seen.window_s) == ("binary", "log loss", 10, 60.0)
    assert seen.metrics["model"].window["accuracy"] == seen.by_version[0].metrics["accuracy"] == 1.0
    Exporter().export(seen)
    assert TASK_METRIC.labels("toy", "model", "accuracy", "whole")._value.get() == 1.0
