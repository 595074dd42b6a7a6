"""References and windows: what drifts is found, what does not is not, and a state goes on as if nothing had been."""

import msgspec
import numpy as np
import pytest

from headrace.drift.limits import Limits
from headrace.drift.reference import as_plain, from_plain, learn
from headrace.drift.schema import Column, ColumnSpec
from headrace.drift.windows import Change, Group

LIMITS = Limits(reference=4000, windows=(1000, 4000), adopt=None)
NUMBER, CATEGORY = ColumnSpec("x", "number"), ColumnSpec("c", "category")
COLOURS = np.array(["red", "green", "blue", "new"], dtype=object)


def numbers(count: int, seed: int = 0, shift: float = 0.0) -> Column:
    return np.random.default_rng(seed).normal(shift, 1, count)


def colours(count: int, seed: int = 0, of: int = 3) -> Column:
    return COLOURS[np.random.default_rng(seed).integers(0, of, count)]


def started(changes: list[Change]) -> list[tuple[str, str]]:
    return [(change.column, change.what) for change in changes if change.firing]


def test_what_is_as_the_reference_never_drifts() -> None:
    group = Group([NUMBER, CATEGORY], LIMITS)
    assert group.take([numbers(60_000), colours(60_000)]) == []
    assert [one.state for one in group.references if one] == ["steady", "steady"]


def test_a_shift_is_found_within_two_thousand_events_and_ends_with_it() -> None:
    group = Group([NUMBER], LIMITS)
    group.take([numbers(20_300)])
    changes = group.take([numbers(10_000, 1, shift=1.0)])
    assert started(changes) == [("x", "distribution")]
    assert changes[0].at - 20_300 <= 2000
    assert changes[0].value > changes[0].limit
    ended = group.take([numbers(12_000, 2)])
    assert [(change.column, change.firing) for change in ended] == [("x", False)]


def test_missing_values_numbers_out_of_range_and_unseen_categories_are_told_apart() -> None:
    group = Group([NUMBER, ColumnSpec("y", "number"), CATEGORY], LIMITS)
    group.take([numbers(20_000), numbers(20_000, 1), colours(20_000)])
    gaps, far = numbers(3000, 2), numbers(3000, 3)
    gaps[::10], far[::10] = np.nan, 50.0
    found = started(group.take([gaps, far, colours(3000, 4, of=4)]))
    assert {("x", "missing"), ("y", "outside"), ("c", "outside")} <= set(found)
    assert ("x", "outside") not in found
    assert ("y", "missing") not in found


def test_chunks_of_any_size_give_the_same() -> None:
    values = np.concatenate([numbers(20_000), numbers(5000, 1, shift=1.0)])
    whole, parts = Group([NUMBER], LIMITS), Group([NUMBER], LIMITS)
    expected = whole.take([values])
    found: list[Change] = []
    for part in np.split(values, [1, 7, 499, 501, 4000, 4001, 20_123, 24_000]):
        found += parts.take([part])
    assert found == expected != []


def test_a_column_that_follows_the_time_is_unsteady_and_one_that_names_things_is_an_identifier() -> None:
    group = Group([ColumnSpec("hour", "number"), ColumnSpec("id", "category")], LIMITS)
    ids = np.array([f"e{i}" for i in range(20_000)], dtype=object)
    assert group.take([np.arange(20_000) / 100, ids]) == []
    assert [one.state for one in group.references if one] == ["unsteady", "identifier"]


def test_values_that_come_in_runs_have_wider_limits() -> None:
    steady = learn(NUMBER, numbers(20_000), LIMITS, 20)
    runs = np.repeat(numbers(200), 100)
    assert learn(NUMBER, runs, LIMITS, 20).psi[0] > 2 * steady.psi[0]


def test_whole_numbers_of_few_values_are_categories() -> None:
    days = np.random.default_rng(1).integers(0, 7, 20_000).astype(float)
    made = learn(ColumnSpec("day", "number", whole=True), days, LIMITS, 1)
    assert (made.kind, sorted(made.categories)) == ("category", [0, 1, 2, 3, 4, 5, 6])
    assert made.codes(np.array([3.0, 9.0, np.nan])).tolist() == [made.categories.index(3) + 1, 33, 34]


def test_a_reference_of_missing_values_alone_is_never_above_its_limits() -> None:
    group = Group([NUMBER, CATEGORY], LIMITS)
    nothing = np.full(30_000, None, dtype=object)
    assert group.take([np.full(30_000, np.nan), nothing]) == []


def test_drift_that_lasts_becomes_what_is_usual() -> None:
    group = Group([NUMBER], Limits(reference=4000, windows=(1000, 4000), adopt=20_000))
    group.take([numbers(20_000)])
    changes = group.take([numbers(60_000, 1, shift=2.0)])
    assert {(c.what, c.firing, c.statistic == "a new reference") for c in changes} == {
        ("distribution", True, False), ("distribution", False, True),
    }  # fmt: skip


def test_a_reset_takes_a_new_reference_of_that_column_alone() -> None:
    group = Group([NUMBER, CATEGORY], LIMITS)
    group.take([numbers(20_000), colours(20_000)])
    group.take([numbers(3000, 1, shift=2.0), colours(3000, 1)])
    assert {change.firing for change in group.reset(["x"])} == {False}
    assert [one is None for one in group.references] == [True, False]
    assert group.take([numbers(20_000, 2, shift=2.0), colours(20_000, 2)]) == []


def test_a_restored_state_goes_on_as_if_nothing_had_been() -> None:
    values, after = numbers(20_777), numbers(5000, 1, shift=0.6)
    first = Group([NUMBER], LIMITS)
    first.take([values])
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(first.state()))
    second = Group([NUMBER], LIMITS)
    second.restore(kept)
    assert second.take([after]) == first.take([after]) != []
    with pytest.raises(ValueError, match="other ones"):
        Group([CATEGORY], LIMITS).restore(kept)


def test_a_given_reference_is_compared_with_from_the_first_block() -> None:
    reference = from_plain(
        msgspec.json.decode(msgspec.json.encode(as_plain(learn(NUMBER, numbers(20_000), LIMITS, 1))))
    )
    group = Group([NUMBER], LIMITS, references={"x": reference})
    found = group.take([numbers(3000, 1, shift=1.0)])
    assert started(found) == [("x", "distribution")]


def test_limits_are_corrected_for_the_number_of_columns() -> None:
    assert LIMITS.tail(100) == pytest.approx(LIMITS.tail(1) / 100)
    assert LIMITS.sigmas(1) < LIMITS.sigmas(1000)
