"""A training job over files: what it learns from, which epoch it keeps, and that a stop changes nothing."""

import csv
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from headrace.jobs.child import Stopped
from headrace.model.pipeline import load_pipeline
from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings, load
from headrace.training.job import Report, TrainingJob
from services.trainer.offline.examples import gather
from services.trainer.offline.fitting import Fitting
from services.trainer.offline.parts import Parts, split
from services.trainer.offline.service import run_job, with_settings
from tests.line_kit import needs_compiler, write_toy

COUNT = 640


def write(path: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return str(path)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., TrainingJob]:
    """A job over COUNT events and their labels, y = 2x + 0.5; `more` are further events and labels."""

    def job(name: str = "job", more: Sequence[tuple[str, str, str]] = (), **asked: Any) -> TrainingJob:
        rng = random.Random(7)
        xs = [rng.uniform(-1, 1) for _ in range(COUNT)]
        rows = [(f"k{i}", x, 2 * x + 0.5) for i, x in enumerate(xs)] + list(more)
        spec = asked.pop("training", {})
        return TrainingJob(
            pipeline=str(write_toy(tmp_path / "toy", **spec)),
            folder=str(tmp_path / name),
            data="files",
            events=write(tmp_path / "events.csv", ("id", "x"), [(key, x) for key, x, _ in rows]),
            labels=write(tmp_path / "labels.csv", ("id", "y"), [(key, y) for key, _, y in rows]),
            **asked,
        )

    return job


def do(job: TrainingJob, stop_after: int = 0) -> Report:
    left = stop_after

    def check() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Stopped("stopped")

    return run_job(job, load(ServiceSettings, "test"), lambda *_: None, check)


def test_it_learns_and_reports_each_part_beside_the_baselines(make: Callable[..., TrainingJob]) -> None:
    report = do(make(epochs=30, validation=0.2, test=0.1))
    parts = report.parts
    assert [parts[name].examples for name in ("train", "validation", "test")] == [448, 128, 64]
    assert parts["test"].error is not None
    assert parts["test"].error < 0.5 * parts["test"].baselines["mean"]
    assert (report.error_name, parts["test"].metrics["mae"]) == ("mean error", pytest.approx(parts["test"].error))
    assert len(report.epochs) == 30
    assert report.data["events"]["sha256"]


def test_the_kept_weights_are_those_of_the_epoch_with_the_least_error(make: Callable[..., TrainingJob]) -> None:
    job = make(epochs=6, validation=0.3, training={"learning_rate": 0.3})
    report = do(job)
    errors = [epoch.validation for epoch in report.epochs]
    assert errors.index(min(e for e in errors if e is not None)) + 1 == report.best
    assert report.parts["validation"].error == pytest.approx(errors[report.best - 1])
    network = load_pipeline(job.pipeline).model.network()
    network.load_state_dict(load_file(report.weights))


TRAININGS = [
    {},
    {"average": 0.9, "clip_norm": 0.5},
    {"schedule": {"kind": "inverse_time", "start": 3.0, "steps": 10}},
    pytest.param({"precision": "bf16", "compile": True}, marks=needs_compiler),
]


@pytest.mark.parametrize("training", TRAININGS, ids=["plain", "average", "schedule", "bf16 compiled"])
@pytest.mark.parametrize("stop_after", [20, 60, 110])
def test_stopped_anywhere_it_comes_to_the_same_weights(
    make: Callable[..., TrainingJob], training: dict[str, Any], stop_after: int
) -> None:
    straight = do(make("straight", epochs=4, training=training))
    job = make("stopped", epochs=4, training=training)
    with pytest.raises(Stopped):
        do(job, stop_after)
    assert not (job.path / "report.json").exists()
    again = do(job)
    assert (again.digest, again.best, again.steps) == (straight.digest, straight.best, straight.steps)
    assert [e.validation for e in again.epochs] == [e.validation for e in straight.epochs]


def test_a_job_that_is_done_is_not_done_again(make: Callable[..., TrainingJob]) -> None:
    job = make(epochs=2)
    first = do(job)
    assert do(job) == first


def test_patience_ends_it(make: Callable[..., TrainingJob]) -> None:
    report = do(make(epochs=200, patience=2, validation=0.3, training={"learning_rate": 0.3}))
    assert len(report.epochs) == report.best + 2 < 200


def test_without_a_validation_part_the_last_epoch_is_kept(make: Callable[..., TrainingJob]) -> None:
    report = do(make(epochs=3, validation=0.0, test=0.0))
    assert (report.best, report.parts["train"].examples, report.parts["test"].error) == (3, COUNT, None)


def test_examples_that_cannot_be_used_are_counted_with_a_reason(make: Callable[..., TrainingJob]) -> None:
    more = [("bad1", "2e6", "1"), ("bad2", "nan", "1"), ("inf", "0.1", "1000000"), ("none", "0.1", "much")]
    report = do(make(more=more, epochs=2, validation=0.0, test=0.0))
    assert report.left_out == 3
    assert sorted(reason.split(":")[0] for reason in report.reasons) != []
    assert any("x is too large" in reason for reason in report.reasons)
    assert any("events.csv:" in reason and "nan" in reason.lower() for reason in report.reasons)
    assert any("labels.csv:" in reason for reason in report.reasons)
    weights = load_file(report.weights)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())


def test_the_first_label_of_a_key_counts_and_labels_may_come_first(
    make: Callable[..., TrainingJob], tmp_path: Path
) -> None:
    job = make()
    events = write(tmp_path / "e.csv", ("id", "x"), [("a", 1), ("b", 2), ("c", 3), ("a", 9)])
    labels = write(tmp_path / "l.csv", ("id", "y"), [("b", 1), ("b", 7), ("a", 0), ("zzz", 4)])
    pipeline = load_pipeline(job.pipeline)
    for given in ((events, labels), (labels, events)):
        read = TrainingJob(pipeline=job.pipeline, folder=job.folder, data="files", events=events, labels=labels)
        found = gather(read, pipeline, load(ServiceSettings, "test"))
        assert [(label.id, label.y) for label in found.labels] == [("b", 1), ("a", 0)], given
        assert found.features[:, 0].tolist() == [2, 1]


def test_more_examples_than_allowed_are_refused(make: Callable[..., TrainingJob]) -> None:
    with pytest.raises(ConfigError, match="more than 100 examples"):
        do(make(max_examples=100))
    assert do(make(max_examples=100, limit=100)).parts["train"].examples == 80


def test_no_example_is_an_error_that_says_so(make: Callable[..., TrainingJob], tmp_path: Path) -> None:
    job = make()
    empty = TrainingJob(
        pipeline=job.pipeline, folder=str(tmp_path / "none"), data="files", events=job.events,
        labels=write(tmp_path / "none.csv", ("id", "y"), [("zzz", 1)]),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="no example to train on"):
        do(empty)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"learning_rat": 1}, "learning_rat"), ({"learning_rate": -1}, "learning_rate"), ({"replay": 3}, "replay")],
)
def test_a_wrong_setting_is_named(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        with_settings(load_pipeline(write_toy(tmp_path / "toy")), settings)


@pytest.mark.parametrize(
    "asked",
    [{"epochs": 0}, {"validation": 1.0}, {"validation": 0.6, "test": 0.5}, {"patience": -1}, {"limit": 0},
     {"data": "files"}, {"data": "topic", "limit": 5}],
)  # fmt: skip
def test_a_job_that_makes_no_sense_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        TrainingJob(pipeline="p", folder="f", **asked)


def test_the_order_of_an_epoch_differs_from_the_one_before(make: Callable[..., TrainingJob]) -> None:
    job = make()
    pipeline = load_pipeline(job.pipeline)
    examples = gather(job, pipeline, load(ServiceSettings, "test"))
    fitting = Fitting(pipeline, examples, split(examples, 0.1, 0.1), job.path, lambda: None)
    first, second, again = (fitting._shuffled(epoch) for epoch in (1, 2, 1))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, again)
    assert np.array_equal(np.sort(first), np.sort(second))


def test_examples_of_a_sample_count_by_their_weight(make: Callable[..., TrainingJob], tmp_path: Path) -> None:
    """One example in ten counts a hundred times: its label is what is learned."""
    job = make(training={"learning_rate": 0.05})
    pipeline = load_pipeline(job.pipeline)
    examples = gather(job, pipeline, load(ServiceSettings, "test"))
    assert set(examples.weights) == {1.0}
    examples.labels = [type(label)(label.id, float(i % 10 == 0)) for i, label in enumerate(examples.labels)]
    everything, none = np.arange(COUNT), np.arange(0)
    mean = []
    for weight in (1.0, 100.0):
        examples.weights = [weight if i % 10 == 0 else 1.0 for i in range(COUNT)]
        folder = tmp_path / f"{weight}"
        folder.mkdir()
        fitting = Fitting(pipeline, examples, Parts(everything, none, none, 0), folder, lambda: None)
        fitting.run(8, 99, lambda *_: None)
        errors = np.array([one.error for one in fitting.judged(everything)])
        mean.append((errors[::10].mean(), np.delete(errors, np.s_[::10]).mean()))
    (rare, usual), (heavy, light) = mean
    assert rare > 2 * usual
    assert light > 2 * heavy
