"""The learning rate over steps, and when it begins again."""

import math
import random

import pytest
import torch

from headrace.model.spec import DriftSpec, ScheduleSpec
from services.trainer.learning.schedule import DriftDetector, Schedule


@pytest.mark.parametrize(
    ("spec", "step", "factor"),
    [
        (ScheduleSpec(), 0, 1.0),
        (ScheduleSpec(kind="inverse_time", start=8, steps=32), 0, 8.0),
        (ScheduleSpec(kind="inverse_time", start=8, steps=32), 32, 4.0),
        (ScheduleSpec(kind="inverse_time", start=8, steps=32), 10_000, 1.0),
        (ScheduleSpec(kind="cosine", start=5, steps=100), 0, 5.0),
        (ScheduleSpec(kind="cosine", start=5, steps=100), 50, 3.0),
        (ScheduleSpec(kind="cosine", start=5, steps=100), 900, 1.0),
        (ScheduleSpec(kind="cosine", start=5, steps=100, warm_up=4), 0, 1.0),
        (ScheduleSpec(kind="cosine", start=5, steps=100, warm_up=4), 4, 5.0),
    ],
)
def test_the_factor_at_a_step(spec: ScheduleSpec, step: int, factor: float) -> None:
    assert Schedule(spec).factor(step) == pytest.approx(factor)


def test_a_restart_begins_at_its_step() -> None:
    schedule = Schedule(ScheduleSpec(kind="inverse_time", start=8, steps=32))
    schedule.restart(1000)
    assert (schedule.factor(1000), schedule.factor(1032)) == (8.0, 4.0)


def test_each_group_keeps_its_own_rate_and_a_constant_schedule_touches_none() -> None:
    one, two = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [one], "lr": 0.1}, {"params": [two], "lr": 0.2}], lr=1.0)
    Schedule(ScheduleSpec(kind="inverse_time", start=4, steps=1)).apply(optimizer, 1)
    Schedule(ScheduleSpec(kind="inverse_time", start=4, steps=1)).apply(optimizer, 0)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.4, 0.8])
    optimizer.param_groups[0]["lr"] = 7.0
    Schedule(ScheduleSpec()).apply(optimizer, 0)
    assert optimizer.param_groups[0]["lr"] == 7.0


def detected(detector: DriftDetector, mean: float, batches: int, seed: int = 0) -> int | None:
    """After how many batches of 20 errors about `mean` a drift is found."""
    rng = random.Random(seed)
    for i in range(batches):
        if detector.observe([rng.expovariate(1 / mean) for _ in range(20)]):
            return i + 1
    return None


def test_a_stationary_error_is_no_drift_and_a_doubled_one_is_found_soon() -> None:
    detector = DriftDetector(DriftSpec(ratio=1.5, examples=500))
    assert detected(detector, 1.0, 3000) is None
    found = detected(detector, 2.0, 200)
    assert found is not None
    assert found * 20 <= 1500
    assert detected(detector, 2.0, 1000, seed=1) is None, "the new level is what it compares with"


def test_errors_that_are_not_finite_count_for_nothing() -> None:
    detector = DriftDetector(DriftSpec(examples=10))
    assert not detector.observe([math.nan, math.inf])
    assert detector.state == (0.0, 0.0, 0)


def test_a_detector_goes_on_from_its_state() -> None:
    left = DriftDetector(DriftSpec())
    for i in range(100):
        left.observe([float(i % 7)] * 13)
    right = DriftDetector(DriftSpec(), left.state)
    assert [left.observe([9.0] * 13) for _ in range(99)] == [right.observe([9.0] * 13) for _ in range(99)]
