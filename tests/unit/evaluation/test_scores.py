"""Metrics over windows, over time, decayed and by slice, beside the same metrics worked out anew."""

import numpy as np
import pytest

from headrace.evaluation.judge import Judge
from headrace.evaluation.scores import BUCKETS, Scoreboard, SliceScores, Spans
from headrace.evaluation.tasks import task_of

RNG = np.random.default_rng(3)
TASK = task_of("binary")


def examples(count: int) -> list[tuple[float, float, float]]:
    chances = RNG.random(count)
    return [TASK.evidence(c, bool(RNG.random() < c)) for c in chances.tolist()]  # type: ignore[misc]


def worked_out(rows: list[tuple[float, float, float]], weights: np.ndarray | None = None) -> dict[str, float]:
    return TASK.metrics(TASK.sums(np.array(rows), np.ones(len(rows)) if weights is None else weights))


@pytest.mark.parametrize("read_every", [1, 7, 10_000], ids=["often", "now and then", "once"])
@pytest.mark.parametrize("count", [1, 99, 100, 101, 2500])
def test_every_span_is_what_its_examples_give(count: int, read_every: int) -> None:
    """However often it is read, and so whichever batches the examples are taken in."""
    rows, spans = examples(count), Spans(window=100, window_s=30, half_life=50)
    board = Scoreboard(TASK, ["model"], spans)
    for i, row in enumerate(rows):
        board.add(float(i), [row])
        if i % read_every == 0:
            board.metrics(float(i))
    found = board.metrics(float(count - 1))["model"]
    assert found.whole == pytest.approx(worked_out(rows))
    assert found.window == pytest.approx(worked_out(rows[-100:]))
    assert found.recent == pytest.approx(worked_out(rows[-30:]))
    decayed = 0.5 ** (np.arange(count - 1, -1, -1) / 50)
    assert found.decayed == pytest.approx(worked_out(rows, decayed))


def test_time_goes_on_without_labels() -> None:
    board = Scoreboard(TASK, ["model"], Spans(window=10, window_s=60))
    board.add(1000.0, examples(1))
    assert board.metrics(1050.0)["model"].recent
    after = board.metrics(1070.0)["model"]
    assert not after.recent
    assert after.window


def test_predictors_stand_side_by_side_over_the_same_examples() -> None:
    board = Scoreboard(TASK, ["model", "prior"], Spans(window=10))
    assert board.metrics(0.0)["model"].whole == {}
    for _ in range(5):
        board.add(0.0, [TASK.evidence(0.9, truth=True), TASK.evidence(0.2, truth=True)])
    found = board.metrics(0.0)
    assert (found["model"].window["accuracy"], found["prior"].window["accuracy"]) == (1.0, 0.0)
    assert "auc" not in found["model"].whole, "only one class came"


def test_memory_is_bounded_whatever_the_timestamps() -> None:
    board = Scoreboard(TASK, ["model"], Spans(window=10, window_s=1.0))
    for row in examples(5000):
        board.add(float(RNG.random() * 1e9), [row])
    board.metrics(0.0)
    measures = board._measures["model"]
    assert (len(measures._buckets), len(measures._ring)) == (4 * BUCKETS, 10)


def test_slices_add_up_to_the_whole() -> None:
    rows, slices = examples(3000), SliceScores(TASK)
    for i, row in enumerate(rows):
        slices.add(i % 2, row)
    assert slices.metrics(0) == pytest.approx(worked_out(rows[::2]))
    assert slices.metrics(1) == pytest.approx(worked_out(rows[1::2]))
    slices.forget(0)
    assert slices.metrics(0) == {}


def test_a_models_own_error_stands_beside_the_tasks_metrics() -> None:
    of_task, own = Judge(TASK, target=bool), Judge(TASK, error=lambda p, y: abs(p - y), target=bool)
    assert (of_task.error_name, own.error_name) == ("log loss", "mean error")
    assert of_task(0.25, 1).error == pytest.approx(1.386, abs=1e-3)
    assert own(0.25, 1).error == 0.75
    assert own(0.25, 1).evidence == of_task(0.25, 1).evidence
    error_alone = Judge(task_of("regression"), error=lambda p, y: abs(p - y))
    assert error_alone(3.0, 1) == (2.0, (2.0,))
