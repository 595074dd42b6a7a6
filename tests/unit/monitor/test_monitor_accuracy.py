"""Delayed accuracy: what was served beside the baselines, over exactly the same keys."""

import math
from typing import Any

import pytest

from headrace.evaluation.judge import Judge, baselines_of
from headrace.evaluation.scores import Spans
from headrace.evaluation.tasks import task_of
from services.monitor.accuracy import Accuracy
from services.monitor.scoring import VERSIONS_KEPT, Means


class LastLabel:
    """Predicts the label that it learned last."""

    def __init__(self) -> None:
        self.last = 0.0

    def predict(self, event: Any) -> float:
        return self.last

    def learn(self, event: Any, label: float) -> None:
        self.last = label


def absolute(prediction: float, label: float) -> float:
    return abs(prediction - label)


def accuracy(window: int = 3, **changes: Any) -> Accuracy:
    judge = Judge(task_of("regression"), error=absolute)
    return Accuracy(judge, {"last label": LastLabel()}, spans=Spans(window), **changes)


def joined(scores: Accuracy, key: bytes, predicted: float, label: float, version: int = 1) -> None:
    scores.event(key, 0.0, {})
    scores.prediction(key, 0.0, predicted, version)
    scores.label(key, 0.0, label)


def test_nothing_is_known_before_the_first_label() -> None:
    scores = accuracy()
    scores.event(b"a", 0.0, {})
    scores.prediction(b"a", 0.0, 1.0, 1)
    assert scores.model.mean is None
    assert scores.joined == 0
    assert scores.waiting == 1


def test_a_baseline_predicts_before_it_learns() -> None:
    scores = accuracy()
    joined(scores, b"a", predicted=9.0, label=10.0)
    joined(scores, b"b", predicted=9.0, label=12.0)
    assert scores.model.mean == 2.0
    assert scores.baselines["last label"].mean == 6.0, "10 off at first, knowing nothing, then 2 off"


def test_a_baseline_knows_what_was_known_when_its_event_came_not_when_its_label_did() -> None:
    scores = accuracy()
    scores.event(b"late", 0.0, {})
    joined(scores, b"a", predicted=5.0, label=5.0)
    scores.prediction(b"late", 0.0, 5.0, 1)
    scores.label(b"late", 1.0, 5.0)
    assert scores.baselines["last label"].mean == 5.0, "both came while it knew nothing"


@pytest.mark.parametrize("order", ["epl", "elp", "pel", "ple", "lep", "lpe"])
def test_the_order_in_which_the_three_arrive_does_not_matter(order: str) -> None:
    scores = accuracy()
    for what in order:
        if what == "e":
            scores.event(b"a", 0.0, {})
        elif what == "p":
            scores.prediction(b"a", 0.0, 3.0, 1)
        else:
            scores.label(b"a", 0.0, 5.0)
    assert scores.joined == 1
    assert scores.model.mean == 2.0
    assert scores.baselines["last label"].mean == 5.0


def test_the_first_prediction_of_a_key_is_the_one_that_was_served() -> None:
    scores = accuracy()
    scores.event(b"a", 0.0, {})
    scores.prediction(b"a", 0.0, 1.0, 1)
    scores.prediction(b"a", 0.0, 5.0, 2)
    scores.label(b"a", 0.0, 5.0)
    assert scores.model.mean == 4.0


def test_the_window_moves_and_the_mean_stays() -> None:
    scores = accuracy(window=2)
    for i, error in enumerate([10.0, 2.0, 4.0]):
        joined(scores, str(i).encode(), predicted=error, label=0.0)
    assert scores.model.mean == pytest.approx(16 / 3)
    assert scores.model.window == 3.0


def test_errors_by_version() -> None:
    scores = accuracy()
    joined(scores, b"a", 1.0, 0.0, version=1)
    joined(scores, b"b", 3.0, 0.0, version=2)
    joined(scores, b"c", 5.0, 0.0, version=2)
    assert [(v.version, v.count, v.mean) for v in scores.by_version] == [(1, 1, 1.0), (2, 2, 4.0)]


def test_a_prediction_that_is_no_number_does_not_spoil_the_means() -> None:
    scores = accuracy()
    joined(scores, b"a", math.nan, 1.0)
    joined(scores, b"b", 1.0, 2.0)
    assert scores.unscored == 1
    assert scores.model.mean == 1.0


def test_a_key_that_waits_too_long_is_dropped_and_counted() -> None:
    scores = accuracy(wait_s=60)
    scores.event(b"cancelled", 100.0, {})
    scores.event(b"later", 150.0, {})
    scores.expire(165.0)
    assert (scores.expired, scores.waiting) == (1, 1)


def test_memory_is_bounded_whatever_comes() -> None:
    scores = accuracy(limit=100)
    for i in range(1000):
        scores.event(str(i).encode(), 0.0, {})
    assert scores.waiting == 100
    assert scores.expired == 900


def test_a_sample_follows_whole_keys() -> None:
    scores = accuracy(sample=0.25)
    followed = [scores.follows(str(i).encode()) for i in range(4000)]
    assert 0.2 < sum(followed) / 4000 < 0.3
    assert followed == [scores.follows(str(i).encode()) for i in range(4000)]
    assert all(accuracy(sample=1.0).follows(str(i).encode()) for i in range(4000))


def test_a_task_has_its_metrics_for_the_model_each_baseline_and_each_version() -> None:
    task = task_of("binary")
    judge = Judge(task, target=bool)
    scores = Accuracy(judge, baselines_of(task, bool), spans=Spans(2), models=["toy"])
    for i, (chance, true, version) in enumerate([(0.1, True, 1), (0.9, True, 2), (0.2, False, 2), (0.8, True, 2)]):
        key = str(i).encode()
        scores.event(key, 0.0, {})
        scores.prediction(key, 0.0, chance, version, "toy")
        scores.label(key, float(i), true)
    found = scores.metrics(3.0)
    assert set(found) == {"model", "prior", "last label"}
    assert (found["model"].whole["accuracy"], found["model"].window["accuracy"]) == (0.75, 1.0)
    assert scores.model.mean == pytest.approx(found["model"].whole["log_loss"])
    assert scores.baselines["prior"].mean == pytest.approx(found["prior"].whole["log_loss"])
    assert [v.metrics["accuracy"] for v in scores.by_version] == [0.0, 1.0]
    assert [set(v.baselines) for v in scores.by_version] == [{"prior", "last label"}] * 2
    count, score, metrics = scores.of_model("toy", 3.0)
    assert (count, score, metrics) == (4, scores.model, found["model"])


def test_of_many_versions_the_last_ones_are_kept() -> None:
    scores = accuracy()
    for version in range(1, VERSIONS_KEPT + 11):
        joined(scores, str(version).encode(), 1.0, 0.0, version=version)
    assert [v.version for v in scores.by_version] == list(range(11, VERSIONS_KEPT + 11))


def test_the_history_grows_only_with_what_is_scored() -> None:
    scores = accuracy()
    scores.remember(1.0)
    joined(scores, b"a", 3.0, 1.0)
    scores.remember(2.0)
    scores.remember(3.0)
    assert [(p.at_us, p.joined, p.model, p.baseline) for p in scores.history] == [(2_000_000, 1, 2.0, 1.0)]


def test_rounding_does_not_pile_up_in_the_moving_mean() -> None:
    means = Means(1, window=10)
    for i in range(10_000):
        means.add((1e9 if i % 7 == 0 and i < 9_000 else 0.1,))
    assert means.score(0).window == pytest.approx(0.1)
