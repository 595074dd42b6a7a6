"""Baselines of a task: what they know, and that they are as good as they can be without looking at events."""

import statistics
from typing import Any

import numpy as np
import pytest

from headrace.evaluation.guesses import MEDIAN_OF, LastClass, Prior, RunningMedian
from headrace.evaluation.judge import Judge, baselines_of
from headrace.evaluation.names import TaskName
from headrace.evaluation.port import Guess
from headrace.evaluation.tasks import task_of

RNG = np.random.default_rng(11)


def after(guess: Guess, truths: list[Any]) -> Any:
    for truth in truths:
        guess.learn(truth)
    return guess.guess()


def test_the_running_median_is_exact_and_forgets() -> None:
    numbers = RNG.normal(0, 1, 3 * MEDIAN_OF).tolist()
    guess = RunningMedian()
    assert guess.guess() == 0.0
    assert after(guess, numbers[:4]) == statistics.median(numbers[:4])
    assert after(guess, numbers[4:]) == statistics.median(numbers[-MEDIAN_OF:])


def test_numbers_by_name() -> None:
    found = {name: after(one, [1.0, 2.0, 6.0]) for name, one in task_of("regression").baselines().items()}
    assert found == {"running median": 2.0, "running mean": 3.0, "last label": 6.0}


def test_a_count_of_zero_is_never_predicted() -> None:
    found = {name: after(one, [0, 0, 3, 0]) for name, one in task_of("count").baselines().items()}
    assert found == {"running mean": 0.75, "running median": 0.5, "last label": 0.5}


def test_the_prior_is_how_often_each_class_came_counted_once_beforehand() -> None:
    assert after(Prior(("a", "b", "c")), ["a", "a", 2]) == [3 / 6, 1 / 6, 2 / 6]


def test_the_last_class_is_as_sure_as_classes_were_followed_by_themselves() -> None:
    guess = LastClass(("a", "b", "c"))
    assert guess.guess() == [1 / 3] * 3
    a, b, c = after(guess, ["a", "a", "a", "b", "b", "b"])
    assert b == 5 / 7, "four times of five, and counted once of twice beforehand"
    assert a + b + c == pytest.approx(1.0)
    assert a == pytest.approx(4 * c)


@pytest.mark.parametrize(
    ("task", "truths"),
    [
        ("regression", [1.0, 2.0]), ("count", [0, 2]), ("binary", [True, False]), ("ranking", [1, 0]),
        ("multiclass", ["a", "b"]), ("multilabel", [["a"], []]),
    ],
)  # fmt: skip
def test_every_baseline_gives_what_its_task_reads_from_the_first_event_on(task: TaskName, truths: list[Any]) -> None:
    of = task_of(task, ("a", "b") if task.startswith("multi") else ())
    judge = Judge(of, target=lambda label: label)
    for baseline in baselines_of(of, lambda label: label).values():
        for truth in truths * 3:
            assert judge(baseline.predict(None), truth).error >= 0
            baseline.learn(None, truth)


def test_where_classes_stay_the_last_one_beats_the_prior_and_where_they_do_not_it_costs_little() -> None:
    staying = (np.cumsum(RNG.random(4000) < 0.05) % 2).astype(bool).tolist()
    mixed = (RNG.random(4000) < 0.3).tolist()
    assert loss("last label", staying) < 0.5 * loss("prior", staying)
    assert loss("last label", mixed) < 1.15 * loss("prior", mixed)


def loss(name: str, truths: list[bool]) -> float:
    task = task_of("binary")
    guess, total = task.baselines()[name], 0.0
    for truth in truths:
        total += task.evidence(guess.guess(), truth)[0]
        guess.learn(truth)
    return total / len(truths)
