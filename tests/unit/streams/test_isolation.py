"""Finding bad records, and stopping when everything is bad."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime.errors import DataError
from headrace.streams.isolation import Breaker, TooManyBadError, bisect


def refusing(bad: set[int]):
    calls = []

    def work(items):
        calls.append(len(items))
        if wrong := bad & set(items):
            raise ValueError(f"cannot take {min(wrong)}")
        return [item * 10 for item in items]

    return work, calls


@given(st.integers(0, 200), st.sets(st.integers(0, 199)))
def test_exactly_the_bad_items_are_found_and_the_others_keep_their_results(count, bad):
    work, _ = refusing(bad)
    good, failed = bisect(work, range(count), most_bad=1000)
    assert [i for i, _ in failed] == sorted(i for i in bad if i < count)
    assert good == [(i, i * 10) for i in range(count) if i not in bad]
    assert all(str(error) == f"cannot take {i}" for i, error in failed)


def test_one_bad_of_many_costs_few_calls():
    work, calls = refusing({777})
    bisect(work, range(1024), most_bad=10)
    assert len(calls) == 21


def test_it_gives_up_when_everything_fails():
    work, calls = refusing(set(range(10_000)))
    with pytest.raises(TooManyBadError) as caught:
        bisect(work, range(10_000), most_bad=20)
    assert isinstance(caught.value.__cause__, ValueError)
    assert len(calls) < 100


def test_the_breaker_lets_a_few_bad_records_pass():
    breaker = Breaker(ratio=0.5, least=10, window=1000)
    for _ in range(100):
        breaker.count(40, 100, "x")


def test_the_breaker_opens_when_most_records_are_bad():
    breaker = Breaker(ratio=0.5, least=10, window=1000)
    breaker.count(0, 100, "")
    breaker.count(60, 60, "decode: no JSON")
    with pytest.raises(DataError, match="decode: no JSON") as caught:
        breaker.count(60, 60, "decode: no JSON")
    assert caught.value.exit_code == 5


def test_a_handful_of_bad_records_never_opens_it_however_quiet_the_topic():
    breaker = Breaker(ratio=0.5, least=10, window=1000)
    breaker.count(10, 10, "x")


def test_old_records_count_less():
    breaker = Breaker(ratio=0.5, least=10, window=1000)
    for _ in range(50):
        breaker.count(0, 1000, "")
    with pytest.raises(DataError):
        breaker.count(2000, 2000, "x")
