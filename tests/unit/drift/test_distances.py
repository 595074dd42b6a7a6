"""Distances between distributions, held against scipy's and against what can be worked out by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from headrace.drift import distances

RNG = np.random.default_rng(7)


def test_equal_shares_are_at_distance_0_whatever_their_numbers() -> None:
    a, b = np.array([1000, 2000, 3000]), np.array([10_000, 20_000, 30_000])
    assert distances.psi(a, b) == pytest.approx(0.0, abs=1e-6)
    assert distances.ks(a, b) == pytest.approx(0.0)
    assert distances.wasserstein(a, b, np.array([0.0, 1.0, 2.0, 3.0])) == pytest.approx(0.0)
    assert distances.chi_square(a, b)[0] == pytest.approx(0.0)


def test_psi_is_what_its_formula_says() -> None:
    expected = (0.6 - 0.5) * math.log(0.6 / 0.5) + (0.4 - 0.5) * math.log(0.4 / 0.5)
    assert distances.psi(np.array([50, 50]), np.array([60, 40]), smoothing=0.0) == pytest.approx(expected)


def test_psi_stays_finite_where_a_bin_is_empty_on_one_side() -> None:
    assert 0 < float(distances.psi(np.array([1000, 0]), np.array([0, 1000]))) < 20


def test_nothing_on_one_side_is_no_distance() -> None:
    empty, some = np.zeros(3), np.array([1, 2, 3])
    assert float(distances.psi(empty, some)) == float(distances.ks(some, empty)) == 0.0
    assert float(distances.chi_square(some, empty)[0]) == 0.0


def test_many_columns_are_compared_by_one_call() -> None:
    a, b = RNG.integers(1, 100, (5, 8)), RNG.integers(1, 100, (5, 8))
    assert distances.psi(a, b) == pytest.approx([float(distances.psi(x, y)) for x, y in zip(a, b, strict=True)])
    assert distances.ks(a, b).shape == distances.wasserstein(a, b, np.arange(9.0)).shape == (5,)


def test_chi_square_is_scipys() -> None:
    a, b = RNG.integers(900, 1100, 9), RNG.integers(950, 1050, 9)
    statistic, degrees = distances.chi_square(a, b)
    known = stats.chi2_contingency(np.array([a, b]), correction=False)
    assert float(statistic) == pytest.approx(known.statistic)
    assert int(degrees) == known.dof
    assert distances.chi_square_tail(float(statistic), int(degrees)) == pytest.approx(known.pvalue, rel=0.1)


def test_distances_of_samples_are_scipys() -> None:
    a, b = RNG.normal(0, 1, 500), RNG.normal(0.4, 1.5, 300)
    assert distances.ks_of_samples(a, b) == pytest.approx(stats.ks_2samp(a, b).statistic)
    assert distances.wasserstein_of_samples(a, b) == pytest.approx(stats.wasserstein_distance(a, b))


def test_distances_of_bins_come_close_to_those_of_the_samples() -> None:
    a, b = RNG.normal(0, 1, 20_000), RNG.normal(0.3, 1.2, 20_000)
    edges = np.linspace(-6, 6, 200)
    binned = distances.bin_counts(a, edges), distances.bin_counts(b, edges)
    assert float(distances.ks(*binned)) == pytest.approx(distances.ks_of_samples(a, b), abs=0.01)
    assert float(distances.wasserstein(*binned, edges)) == pytest.approx(
        distances.wasserstein_of_samples(a, b), abs=0.01
    )


def test_a_shift_is_its_wasserstein_distance() -> None:
    edges = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    assert float(distances.wasserstein(np.array([9, 0, 0, 0]), np.array([0, 0, 9, 0]), edges)) == pytest.approx(2.0)


def test_quantile_edges_part_the_values_evenly() -> None:
    values = RNG.normal(0, 1, 10_000)
    counts = distances.bin_counts(values, distances.quantile_edges(values, 10))
    assert counts.sum() == len(values)
    assert np.abs(counts - 1000).max() < 50


def test_a_value_that_repeats_has_a_bin_of_its_own() -> None:
    values = np.concatenate([np.zeros(700), RNG.uniform(1, 2, 300)])
    counts = distances.bin_counts(values, distances.quantile_edges(values, 10))
    assert 700 in counts.tolist()
    assert counts.sum() == 1000


def test_edges_of_one_value_and_of_none() -> None:
    assert distances.quantile_edges(np.full(5, 3.0), 10).tolist() == [3.0, 3.0]
    assert distances.bin_counts(np.full(5, 3.0), np.array([3.0, 3.0])).tolist() == [5]
    assert distances.quantile_edges(np.array([np.nan]), 10).tolist() == []
    assert distances.psi_of_samples(np.full(5, np.nan), np.ones(5)) == 0.0


def test_what_is_missing_counts_nowhere_and_what_is_beyond_counts_in_the_outer_bins() -> None:
    counts = distances.bin_counts(np.array([np.nan, -9.0, 0.5, 1.5, 99.0]), np.array([0.0, 1.0, 2.0]))
    assert counts.tolist() == [2, 2]


def test_unknown_categories_count_last() -> None:
    assert distances.category_counts(["a", "b", "z", "a"], ["a", "b"]).tolist() == [2, 1, 1]


@pytest.mark.parametrize("tail", [1e-2, 1e-4, 1e-7])
@pytest.mark.parametrize("degrees", [3, 19])
def test_gamma_quantiles_are_scipys_within_a_tenth(degrees: int, tail: float) -> None:
    found = distances.gamma_quantile(degrees, math.sqrt(2 * degrees), tail)
    assert found == pytest.approx(stats.chi2.isf(tail, degrees), rel=0.1)


def test_psi_of_one_distribution_is_as_large_as_its_noise_says() -> None:
    found = [
        float(distances.psi(np.bincount(RNG.integers(0, 10, 5000)), np.bincount(RNG.integers(0, 10, 1000))))
        for _ in range(400)
    ]
    mean, deviation = distances.psi_noise(10, 1000, 5000)
    assert np.mean(found) == pytest.approx(mean, rel=0.15)
    assert np.std(found) == pytest.approx(deviation, rel=0.2)


def test_ks_of_one_distribution_stays_below_its_critical_value() -> None:
    critical = distances.ks_critical(1e-3, 500, 5000)
    found = [distances.ks_of_samples(RNG.normal(size=5000), RNG.normal(size=500)) for _ in range(100)]
    assert max(found) < critical
