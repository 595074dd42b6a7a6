"""What a run came to."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from headrace.cli.views.summary import show
from headrace.contracts.snapshot import Counts, Metrics, Quantiles, Score, Snapshot, Versions
from headrace.launch.pipeline_run import Drained, Replay
from headrace.launch.summary import Summary, _counter, _with, histogram_quantiles, write
from headrace.model.spec import DemoSpec, PipelineSpec

BASE = Summary(pipeline="toy", run_dir="/runs/toy", seconds=61.2, drained=True, trained=90, first_prediction_s=8.0)
SNAPSHOT = Snapshot(
    "toy", 0, 0, error_unit="min",
    counts=Counts(events=100, labels=95, predictions=99, joined=90, dead_letters=1),
    model=Score(3.0, 2.0), baselines={"median": Score(5.0, 4.0), "last": Score(3.5, 2.5)},
    versions=Versions(newest=7, active=6, serving=(6,), checkpoints=7, swaps=5), freshness=Quantiles(6, 1.5, 2.0),
)  # fmt: skip
HISTOGRAM = """
# TYPE latency_seconds histogram
latency_seconds_bucket{pipeline="a",le="0.01"} 50.0
latency_seconds_bucket{pipeline="a",le="0.1"} 99.0
latency_seconds_bucket{pipeline="a",le="+Inf"} 100.0
latency_seconds_count{pipeline="a"} 100.0
latency_seconds_sum{pipeline="a"} 3.0
"""


def test_a_run_in_which_every_event_was_predicted_once_is_ok() -> None:
    summary = _with(BASE, SNAPSHOT)
    assert summary.ok
    assert summary.beats_baselines is True
    assert (summary.produced, summary.predicted, summary.version, summary.swaps) == (100, 99, 6, 5)
    assert summary.error["model"] == {"window": 2.0, "mean": 3.0}


@pytest.mark.parametrize("counts", [Counts(predictions=9, duplicates=1), Counts(predictions=9, missing=1), Counts()])
def test_a_duplicate_a_gap_or_nothing_at_all_is_not(counts: Counts) -> None:
    assert not _with(BASE, Snapshot("toy", 0, 0, counts=counts)).ok


def test_quantiles_of_a_histogram_are_interpolated_as_prometheus_does() -> None:
    found = histogram_quantiles(HISTOGRAM, "latency_seconds")
    assert (found.count, found.p50, found.p99) == (100, 0.01, pytest.approx(0.1))
    assert histogram_quantiles("", "latency_seconds") == Quantiles()


def test_the_summary_as_json_and_for_people(tmp_path: Path) -> None:
    summary = _with(BASE, SNAPSHOT)
    write(summary, tmp_path / "deep" / "summary.json")
    body = json.loads((tmp_path / "deep" / "summary.json").read_text())
    assert (body["ok"], body["predicted"], body["freshness"]["p50"]) == (True, 99, 1.5)
    console = Console(file=io.StringIO(), width=100)
    show(summary, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for expected in (
        "predicted, each once; the first after 8.0 s",
        "went to the dead letters",
        "the model",
        "/runs/toy",
    ):
        assert expected in text


def test_a_tasks_metrics_stand_in_the_summary() -> None:
    metrics = {"model": Metrics(whole={"log_loss": 0.3, "auc": 0.912}), "prior": Metrics(whole={"auc": 0.5})}
    found = Snapshot("toy", 0, 0, task="binary", error_name="log loss", model=Score(0.3, 0.2), metrics=metrics)
    console = Console(file=io.StringIO(), width=100)
    show(_with(BASE, found), console)
    assert isinstance(console.file, io.StringIO)
    lines = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]
    for expected in ("log loss at the end whole run", "whole run auc", "model 0.912", "prior 0.500"):
        assert any(line.startswith(expected) for line in lines), expected


def snapshot(at_s: float, events: int, unpredicted: int, joined: int) -> Snapshot:
    return Snapshot("toy", int(at_s * 1e6), 0, counts=Counts(events=events, unpredicted=unpredicted, joined=joined))


def test_drained_is_everything_predicted_and_nothing_new_for_a_while() -> None:
    drained = Drained(quiet_s=1.5)
    assert not drained.check(None)
    assert not drained.check(snapshot(0.0, 10, 3, 5))
    assert not drained.check(snapshot(1.0, 10, 0, 5))
    assert not drained.check(snapshot(2.0, 10, 0, 8)), "a label was joined meanwhile"
    assert not drained.check(snapshot(3.0, 10, 0, 8))
    assert drained.check(snapshot(3.6, 10, 0, 8))


def test_a_monitor_that_counts_all_over_again_is_not_drained() -> None:
    drained = Drained(quiet_s=1.0)
    assert not drained.check(snapshot(0.0, 10, 0, 5))
    for at in (1.5, 3.0, 4.5):
        assert not drained.check(snapshot(at, 4, 0, 0))
    assert not drained.check(snapshot(6.0, 10, 0, 5))
    assert drained.check(snapshot(7.1, 10, 0, 5))


def test_a_restarted_trainer_has_learned_what_its_checkpoints_have() -> None:
    later = Snapshot("toy", 0, 0, versions=Versions(examples=500))
    assert _with(BASE, later).trained == 500


def test_what_the_champions_trainer_learned_is_not_added_to_the_others() -> None:
    text = 'learned_total{model="toy"} 5.0\nlearned_total{model="toy.next"} 4.0\n'
    assert _counter(text, "learned", model="toy") == 5
    assert _counter("", "learned", model="toy") is None


def test_a_replay_goes_as_pipeline_yaml_says_unless_told_otherwise() -> None:
    demo = DemoSpec(speed=60, options={"seed": 7, "drift": True})
    spec = PipelineSpec(name="toy", model="model.py:Toy", source="source.py:Toy", demo=demo)
    assert Replay().flags(spec) == ["--resume", "--option=seed=7", "--option=drift=true", "--speed=60.0"]
    assert Replay(rate=100).flags(spec)[-1] == "--rate=100"
    assert Replay(speed=5).flags(spec)[-1] == "--speed=5"
