"""Every metric beside scikit-learn's, on the same predictions."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn import metrics as reference

from headrace.evaluation.names import TaskName
from headrace.evaluation.port import Task
from headrace.evaluation.tasks import task_of

RNG = np.random.default_rng(7)
N = 4000
CLASSES = ("calm", "windy", "storm")


def metrics_of(task: Task, predictions: Sequence[Any], truths: Sequence[Any]) -> dict[str, float]:
    rows = [task.evidence(p, t) for p, t in zip(predictions, truths, strict=True)]
    return task.metrics(task.sums(np.array(rows), np.ones(len(rows))))


def binary(skew: float = 0.0) -> tuple[list[float], list[bool]]:
    log_odds = RNG.normal(skew, 2, N)
    chance = 1 / (1 + np.exp(-log_odds))
    return chance.tolist(), (RNG.random(N) < chance**1.3).tolist()


def test_regression() -> None:
    truths, predictions = RNG.normal(5, 3, N), RNG.normal(5, 3, N)
    found = metrics_of(task_of("regression"), predictions.tolist(), truths.tolist())
    assert found == {
        "mae": pytest.approx(reference.mean_absolute_error(truths, predictions)),
        "rmse": pytest.approx(reference.root_mean_squared_error(truths, predictions)),
    }


def test_counts() -> None:
    means = RNG.gamma(2, 2, N)
    counts = RNG.poisson(means * 1.1)
    found = metrics_of(task_of("count"), means.tolist(), counts.tolist())
    assert found == {
        "poisson_deviance": pytest.approx(reference.mean_poisson_deviance(counts, means)),
        "mae": pytest.approx(reference.mean_absolute_error(counts, means)),
        "rmse": pytest.approx(reference.root_mean_squared_error(counts, means)),
    }


@pytest.mark.parametrize("skew", [0.0, -5.0], ids=["even", "rare"])
def test_binary(skew: float) -> None:
    chances, truths = binary(skew)
    found = metrics_of(task_of("binary"), chances, truths)
    chosen = [chance >= 0.5 for chance in chances]
    assert found["log_loss"] == pytest.approx(reference.log_loss(truths, chances))
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truths, chosen))
    assert found["f1"] == pytest.approx(reference.f1_score(truths, chosen))
    assert found["calibration_error"] == pytest.approx(calibration_error(chances, truths))
    exact = reference.roc_auc_score(truths, chances)
    assert abs(found["auc"] - exact) <= found["auc_error"] < 0.005


def calibration_error(chances: Sequence[float], hits: Sequence[bool]) -> float:
    """By its definition: over ten groups, the difference of mean probability and frequency."""
    chance, hit = np.array(chances), np.array(hits)
    group = np.minimum((chance * 10).astype(int), 9)
    parts = [(group == g).mean() * abs(chance[group == g].mean() - hit[group == g].mean()) for g in set(group.tolist())]
    return float(sum(parts))


@pytest.mark.parametrize("scale", [0.01, 1.0, 1000.0])
def test_ranking_scores_of_any_scale(scale: float) -> None:
    scores = RNG.normal(0, 1, N)
    relevant = RNG.random(N) < 1 / (1 + np.exp(-scores * 2))
    found = metrics_of(task_of("ranking"), (scores * scale).tolist(), relevant.tolist())
    exact = reference.roc_auc_score(relevant, scores)
    assert abs(found["auc"] - exact) <= found["auc_error"]
    assert found["auc_error"] < 0.02
    losses = np.logaddexp(0, np.where(relevant, -1, 1) * scores * scale)
    assert found["logistic_loss"] == pytest.approx(losses.mean())


@pytest.mark.parametrize("named", [False, True])
def test_multiclass(*, named: bool) -> None:
    chances = RNG.dirichlet([1.0, 0.6, 0.4], N)
    truths = [int(RNG.choice(3, p=row)) for row in chances]
    given: list[Any] = [dict(zip(CLASSES, row, strict=True)) if named else row for row in chances.tolist()]
    found = metrics_of(task_of("multiclass", CLASSES), given, [CLASSES[t] if named else t for t in truths])
    chosen = chances.argmax(axis=1)
    assert found == {
        "log_loss": pytest.approx(reference.log_loss(truths, chances)),
        "accuracy": pytest.approx(reference.accuracy_score(truths, chosen)),
        "f1": pytest.approx(reference.f1_score(truths, chosen, average="macro")),
        "calibration_error": pytest.approx(
            calibration_error(chances.max(axis=1).tolist(), (chosen == truths).tolist())
        ),
    }


def test_a_class_that_never_came_and_was_never_predicted_is_not_in_f1() -> None:
    found = metrics_of(task_of("multiclass", CLASSES), [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]], [0, 1])
    assert found["f1"] == 1.0


def test_multilabel() -> None:
    chances = RNG.random((N, 3))
    true = RNG.random((N, 3)) < chances
    truths = [[c for c, t in zip(CLASSES, row, strict=True) if t] for row in true]
    found = metrics_of(task_of("multilabel", CLASSES), chances.tolist(), truths)
    chosen = chances >= 0.5
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(true, chosen))
    assert found["f1"] == pytest.approx(reference.f1_score(true, chosen, average="macro"))
    losses = [reference.log_loss(true[:, i], chances[:, i]) for i in range(3)]
    assert found["log_loss"] == pytest.approx(np.mean(losses))
    for i, label in enumerate(CLASSES):
        assert found[f"f1[{label}]"] == pytest.approx(reference.f1_score(true[:, i], chosen[:, i]))
        assert found[f"log_loss[{label}]"] == pytest.approx(losses[i])


class Verdict(msgspec.Struct):
    label: str
    probabilities: dict[str, float]


class Chance(msgspec.Struct):
    value: float
    probability: float
    score: float


@pytest.mark.parametrize(
    ("task", "plain", "truth"),
    [("regression", 0.25, 1.0), ("count", 0.25, 2), ("binary", 0.75, True), ("ranking", -2.0, False)],
)
def test_a_struct_is_read_by_the_field_of_its_task(task: TaskName, plain: float, truth: Any) -> None:
    struct = Chance(0.25, 0.75, -2.0)
    as_json = msgspec.to_builtins(struct)
    of = task_of(task)
    assert of.evidence(struct, truth) == of.evidence(as_json, truth) == of.evidence(plain, truth)


def test_a_class_and_its_probabilities_as_a_struct() -> None:
    of = task_of("multiclass", CLASSES)
    verdict = Verdict("windy", {"windy": 0.7, "storm": 0.3})
    assert of.evidence(verdict, "windy") == (-math.log(0.7), 0.7, 1.0, 1.0)


@pytest.mark.parametrize(
    ("task", "prediction", "truth", "said"),
    [
        ("regression", math.nan, 1.0, "the prediction is nan, expected a finite number"),
        ("count", -1.0, 1, "neither can be below 0"),
        ("binary", 1.5, True, "the prediction is 1.5, expected a probability"),
        ("binary", 0.5, "yes", "the truth is 'yes', expected true or false"),
        ("ranking", "high", True, "the prediction is 'high', expected a finite number"),
        ("multiclass", [0.5, 0.4], 1, "the prediction has 2 probabilities, the model has 3 classes"),
        ("multiclass", [0.5, 0.4, 0.4], 1, "sum to 1.3, expected 1"),
        ("multiclass", {"snow": 1.0}, 1, "names 'snow'"),
        ("multiclass", "windy", 1, "expected 3 probabilities"),
        ("multiclass", [0.5, 0.5, 0.0], "snow", "the truth is 'snow', the model's classes are calm"),
        ("multilabel", [0.5, 0.4, 0.4], "storm", "expected a list or set of labels"),
        ("multilabel", [0.5, 0.4, 0.4], ["snow"], "the truth names 'snow'"),
    ],
)
def test_what_has_not_the_form_of_its_task_is_refused(task: TaskName, prediction: Any, truth: Any, said: str) -> None:
    of = task_of(task, CLASSES if task.startswith("multi") else ())
    with pytest.raises((ValueError, TypeError), match=said):
        of.evidence(prediction, truth)


def test_one_wrong_certainty_costs_a_bounded_loss() -> None:
    assert task_of("binary").evidence(0.0, truth=True)[0] == pytest.approx(16.1, abs=0.1)
    assert math.isfinite(task_of("count").evidence(0.0, 5)[0])


@pytest.mark.parametrize(
    ("task", "classes", "said"),
    [("multiclass", (), "no classes"), ("binary", CLASSES, "no use"), ("multiclass", ("a", "a"), "different")],
)
def test_classes_are_named_where_they_are_needed(task: TaskName, classes: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        task_of(task, classes)
