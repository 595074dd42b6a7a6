"""Keys go to canaries by a stable hash, each within its own part."""

import random

import pytest

from services.inference.routing import Router, place

KEYS = [f"key-{i}" for i in range(20_000)]


def chosen(*parts: tuple[float, float]) -> list[set[str]]:
    return [{KEYS[i] for i in part} for part in Router(parts).route(KEYS)]


def test_a_keys_place_never_changes() -> None:
    assert [place(key) for key in ("", "a", "WN589-EWR-20130222", "Zürich")] == [
        3244421341483603138,
        16629034431890738719,
        2763174513990946405,
        838883168505079630,
    ]


@pytest.mark.parametrize("seed", range(20))
def test_growing_a_share_only_moves_keys_into_that_canary(seed: int) -> None:
    """Other canaries keep exactly their keys, whatever this one does, and no key is in two."""
    dice = random.Random(seed)
    edges = sorted(dice.random() for _ in range(5))
    grown = (edges[0], edges[2])
    small = (edges[0], dice.uniform(edges[0], edges[2]))
    other = (edges[3], edges[4])
    before, neighbour_before = chosen(small, other)
    after, neighbour_after = chosen(grown, other)
    assert before <= after
    assert neighbour_before == neighbour_after
    assert not after & neighbour_after
    assert chosen(grown) == [after]


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3, 0.9])
def test_a_share_of_the_keys_is_that_share(share: float) -> None:
    """Within six standard deviations of a binomial, for keys that differ in their last digits only."""
    (mine,) = chosen((0.0, share))
    deviation = (len(KEYS) * share * (1 - share)) ** 0.5
    assert abs(len(mine) - len(KEYS) * share) < 6 * deviation


def test_all_keys_and_none() -> None:
    everything, nothing = chosen((0.0, 1.0), (0.0, 0.0))
    assert everything == set(KEYS)
    assert nothing == set()
    assert Router([]).route(KEYS) == []
