"""Changes of a mean: a rise is found, chance is not, a fall is learned."""

import msgspec
import numpy as np

from headrace.drift.changes import MeanChange

RNG = np.random.default_rng(3)


def errors(**other: object) -> MeanChange:
    return MeanChange(**{"delta": 1e-8, "measure": "ratio", "effect": 1.5, "learn": 2000, **other})  # type: ignore[arg-type]


def test_errors_that_do_not_change_are_no_drift() -> None:
    assert errors().take(RNG.exponential(size=200_000)) == []


def test_a_risen_error_is_found_within_two_thousand_and_ends() -> None:
    watched = errors()
    watched.take(RNG.exponential(size=20_000))
    started = watched.take(RNG.exponential(1.8, size=4000))
    assert [moved.firing for moved in started] == [True]
    assert started[0].at - 20_000 <= 2000
    assert started[0].mean >= started[0].limit > started[0].usual
    assert [moved.firing for moved in watched.take(RNG.exponential(size=4000))] == [False]


def test_a_fallen_error_becomes_the_usual_one_so_that_its_return_is_drift() -> None:
    watched = errors()
    watched.take(RNG.exponential(2.0, size=10_000))
    assert watched.take(RNG.exponential(1.0, size=10_000)) == []
    assert watched.usual is not None
    assert watched.usual < 1.3
    assert [moved.firing for moved in watched.take(RNG.exponential(2.0, size=5000))] == [True]


def test_a_rise_that_lasts_becomes_what_is_usual() -> None:
    watched = errors(adopt=10_000)
    watched.take(RNG.exponential(size=10_000))
    assert [moved.firing for moved in watched.take(RNG.exponential(3.0, size=30_000))] == [True, False]
    assert watched.usual is not None
    assert watched.usual > 2.5


def test_a_mean_that_moves_either_way_is_found_thinned_too() -> None:
    for shift in (1.0, -1.0):
        watched = errors(measure="deviations", effect=0.5, thin=10)
        watched.take(RNG.normal(size=20_005))
        assert [moved.firing for moved in watched.take(RNG.normal(shift, size=3000))] == [True]


def test_a_mean_that_goes_far_while_it_is_learned_has_a_wider_limit() -> None:
    watched = errors(learn=20_000)
    for _ in range(10):
        watched.take(RNG.exponential(size=1000))
        watched.take(RNG.exponential(2.0, size=1000))
    assert watched.take(RNG.exponential(2.0, size=5000)) == []
    assert [moved.firing for moved in watched.take(RNG.exponential(5.0, size=5000))] == [True]


def test_what_is_no_number_is_left_out() -> None:
    watched = errors(learn=3)
    watched.take([1.0, float("nan"), 2.0, float("inf"), 3.0])
    assert (watched.taken, watched.usual) == (3, 2.0)


def test_a_restored_state_finds_what_comes() -> None:
    first = errors()
    first.take(RNG.exponential(size=20_000))
    second = errors()
    second.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(first.state())))
    assert second.usual == first.usual
    assert [moved.firing for moved in second.take(RNG.exponential(2.0, size=3000))] == [True]


def test_a_reset_ends_drift_and_learns_anew() -> None:
    watched = errors()
    watched.take(RNG.exponential(size=10_000))
    watched.take(RNG.exponential(3.0, size=3000))
    assert [moved.firing for moved in watched.reset()] == [False]
    assert watched.usual is None
