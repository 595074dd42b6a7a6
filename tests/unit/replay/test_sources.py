"""A pipeline's own source: its options, going round it for ever, and what is wrong with a record of it."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, ClassVar

import msgspec
import pytest

from headrace.model.source import Source, Timed
from headrace.replay.sources import looped, options_of
from headrace.runtime.errors import ConfigError


class Trip(msgspec.Struct):
    trip_id: str
    at: float
    seats: int
    note: str = "none"
    rain: float | None = None


def trips(count: int) -> list[Timed]:
    return [Timed(1000.0 + i, "events", Trip(f"t{i}", 1000.0 + i, 1)) for i in range(count)]


class Numbers(Source):
    options: ClassVar = {"seed": 1, "rate": 2.0, "wet": False, "city": "Turin"}

    def replay(self, **options: Any) -> Iterator[Timed]:
        return iter(trips(3))

    def sample(self, count: int) -> list[msgspec.Struct]:
        return []


def test_options_take_the_type_of_their_default() -> None:
    given = options_of(Numbers(), ["seed=7", "rate=3", "wet=true", "city=Rome"])
    assert given == {"seed": 7, "rate": 3.0, "wet": True, "city": "Rome"}


@pytest.mark.parametrize(
    ("text", "says"), [("speed=3", "takes no such option"), ("seed", "takes no such"), ("seed=x", "Expected `int`")]
)
def test_options_that_do_not_fit_are_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        options_of(Numbers(), [text])


def test_a_loop_goes_on_in_time_with_keys_that_stay_unique() -> None:
    records = list(islice(looped(Numbers().replay, "trip_id"), 8))
    keys = [r.value.trip_id for r in records if isinstance(r.value, Trip)]
    assert keys == ["t0", "t1", "t2", "t0-1", "t1-1", "t2-1", "t0-2", "t1-2"]
    assert [r.at for r in records] == [1000.0 + i for i in range(8)]


def test_looping_nothing_ends() -> None:
    assert list(looped(lambda: iter(()), "trip_id")) == []
