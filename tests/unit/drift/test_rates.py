"""Volume and latency by intervals."""

import msgspec
import numpy as np
import pytest

from headrace.drift.rates import IN_A_ROW, LEARN, Baseline, Intervals, latency_places, latency_quantile


def fed(baseline: Baseline, *values: float) -> list[bool]:
    return [odd.firing for value in values if (odd := baseline.take(value)) is not None]


def usual(count: int = 40) -> list[float]:
    return np.random.default_rng(1).poisson(1000, count).astype(float).tolist()


def test_usual_volume_is_never_odd() -> None:
    assert fed(Baseline(3.0, falls=True), *usual(2000)) == []


@pytest.mark.parametrize("odd", [4000.0, 100.0, 0.0])
def test_far_more_and_far_fewer_are_odd_after_some_intervals_in_a_row_until_they_end(odd: float) -> None:
    volume = Baseline(3.0, falls=True)
    assert fed(volume, *usual()) == []
    assert fed(volume, *[odd] * (IN_A_ROW - 1), *usual(5)) == []
    assert fed(volume, *[odd] * IN_A_ROW) == [True]
    assert fed(volume, *usual(IN_A_ROW)) == [False]


def test_a_change_that_lasts_is_what_is_usual() -> None:
    volume = Baseline(3.0, falls=True)
    fed(volume, *usual())
    assert fed(volume, *[9000.0] * 100) == [True, False]


def test_a_trickle_has_no_fall_and_latency_below_the_floor_is_not_odd() -> None:
    assert fed(Baseline(3.0, falls=True), *[5.0] * 40, *[0.0] * 10) == []
    assert fed(Baseline(3.0, falls=False, floor=0.25), *[0.01] * 40, *[0.2] * 10) == []
    assert fed(Baseline(3.0, falls=False, floor=0.25), *[0.01] * 40, *[0.3] * 10) == [True]


def test_too_few_intervals_say_nothing() -> None:
    volume = Baseline(3.0, falls=True)
    assert fed(volume, *usual(LEARN - 1), 90_000.0) == []
    assert volume.usual is not None


def test_intervals_are_over_once_everything_was_read_and_empty_ones_count() -> None:
    intervals = Intervals(10.0, 1)
    intervals.add(np.array([5.0, 12.0, 13.0, 41.0]), np.zeros(4, dtype=np.int64))
    assert intervals.over(None) == []
    assert [(which, int(counts[0])) for which, counts in intervals.over(50.0)] == [(1, 2), (2, 0), (3, 0)]
    intervals.add(np.array([14.0]), np.zeros(1, dtype=np.int64))  # too late
    assert [(which, int(counts[0])) for which, counts in intervals.over(70.0)] == [(4, 1), (5, 0)]


def test_states_go_on() -> None:
    intervals, volume = Intervals(10.0, 1), Baseline(3.0, falls=True)
    intervals.add(np.array([5.0, 12.0]), np.zeros(2, dtype=np.int64))
    fed(volume, *usual(), 9000.0, 9000.0)
    other, again = Intervals(10.0, 1), Baseline(3.0, falls=True)
    other.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(intervals.state())))
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(volume.state())))
    assert [which for which, _ in other.over(60.0)] == [which for which, _ in intervals.over(60.0)]
    assert fed(again, 9000.0) == [True]


def test_a_latency_quantile_is_within_an_eighth() -> None:
    latencies = np.random.default_rng(2).lognormal(-3, 1, 10_000)
    counts = np.bincount(latency_places(latencies), minlength=162)
    assert latency_quantile(counts, 0.99) == pytest.approx(np.quantile(latencies, 0.99), rel=0.125)
    assert latency_quantile(np.zeros(162, dtype=np.int64), 0.99) is None
