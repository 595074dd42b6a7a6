"""The arithmetic of the swaps' benchmark: what is in a window, and what a round's ratio is."""

import numpy as np
import pytest

from benchmarks.weights.latency import between_windows, compare, within


def test_a_request_belongs_to_the_window_in_which_it_was_due():
    """Both ends included."""
    at = np.array([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 9.0])
    assert within(at, [(1.0, 2.0), (3.0, 4.0)]).tolist() == [False, True, True, True, False, True, False]


def test_windows_of_chance_lie_between_swaps_and_are_no_longer_than_them():
    """In the middle, and half of the gap at most."""
    assert between_windows([(0.0, 1.0), (5.0, 8.0), (9.0, 9.5)]) == [(2.5, 3.5), (8.25, 8.75)]


@pytest.mark.parametrize("slower", [1.0, 3.0])
def test_a_swap_that_slows_requests_is_seen_and_one_that_does_not_is_not(slower: float):
    """The ratio is that of the swaps, in every round, and chance's is 1."""
    due = np.arange(0, 40, 0.001)
    windows = [(float(start), start + 0.2) for start in range(1, 39)]
    latency = np.where(within(due, windows), slower, 1.0)
    found = compare(np.column_stack([due, latency]), windows, rounds=4)
    assert found.ratio.least == found.ratio.greatest == slower
    assert found.chance.least == found.chance.greatest == 1.0
    assert found.swaps.p99 == slower * 1000
    assert found.steady.worst == 1000
