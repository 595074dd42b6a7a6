"""Which numbers a record may hold, and what is said about JSON that has others."""

import json
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model.json_errors import DECODE_ERRORS, json_problem
from headrace.model.values import HIGHEST, LOWEST, BadValue, find_bad_number, number_check


@dataclass
class Spot:
    height: float


class Place(msgspec.Struct, rename="camel"):
    far_away: float
    spot: Spot | None = None


class Wide(msgspec.Struct):
    id: str
    a: float = 0.0
    b: float | None = None
    n: int = 0
    m: int | None = None
    either: int | float = 0
    series: list[float] = []
    counts: tuple[int, ...] = ()
    table: dict[str, list[float]] = {}
    names: dict[int, str] = {}
    place: Place | None = None
    price: Decimal = Decimal(0)
    anything: Any = None
    bounded: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    size: Literal[1, 2] = 1


HUGE = 2**70
BAD: dict[str, tuple[Any, str]] = {
    "a float": (Wide("k", a=math.nan), "a: nan"),
    "a float that may be None": (Wide("k", b=-math.inf), "b: -inf"),
    "an int": (Wide("k", n=HIGHEST + 1), "n: 9223372036854775808 is"),
    "an int that may be None": (Wide("k", m=LOWEST - 1), "m: -9223372036854775809 is"),
    "an int in the place of a float": (Wide("k", a=10**400), "a: an integer of 1329 bits"),
    "a number of two kinds": (Wide("k", either=math.nan), "either: nan"),
    "a list": (Wide("k", series=[1.0, math.inf]), "series[1]: inf"),
    "a list of several types": (Wide("k", series=[1, "x", math.inf]), "series[2]: inf"),
    "a tuple of ints": (Wide("k", counts=(1, HUGE)), "counts[1]: 1180591620717411303424 is"),
    "a dictionary": (Wide("k", table={"x": [math.nan]}), "table.x[0]: nan"),
    "a dictionary's key": (Wide("k", names={HUGE: "x"}), "names: 1180591620717411303424 is"),
    "a struct inside, by its name in JSON": (Wide("k", place=Place(math.nan)), "place.farAway: nan"),
    "a dataclass inside": (Wide("k", place=Place(1.0, Spot(math.inf))), "place.spot.height: inf"),
    "a Decimal": (Wide("k", price=Decimal("NaN")), "price: NaN"),
    "anything": (Wide("k", anything={"x": [1, {"y": math.nan}]}), "anything.x[1].y: nan"),
    "a bounded float": (Wide("k", bounded=math.nan), "bounded: nan"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_number_is_found_wherever_it_is(case: str) -> None:
    value, says = BAD[case]
    found = number_check(Wide)(value)
    assert found is not None
    assert str(found).startswith(says)


def test_good_numbers_are_good() -> None:
    check = number_check(Wide)
    assert check(Wide("k")) is None
    far = [1.7976931348623157e308] * 3
    assert check(Wide("k", a=far[0], b=far[0], series=far, bounded=far[0])) is None, (
        "sums beyond a float are no problem"
    )
    assert check(Wide("k", a=-0.0, n=HIGHEST, m=LOWEST, counts=(HIGHEST, LOWEST), either=True)) is None


def test_floats_from_json_are_not_looked_at_again() -> None:
    check = number_check(Wide, from_json=True)
    assert check(Wide("k", a=math.nan, series=[math.nan])) is None, "JSON cannot have brought them"
    assert str(check(Wide("k", n=HUGE))).startswith("n: ")
    assert str(check(Wide("k", price=Decimal("Infinity")))).startswith("price: ")


NUMBERS = st.floats() | st.integers() | st.sampled_from([HUGE, -HUGE, HIGHEST, LOWEST])


@given(st.builds(
    Wide, id=st.just("k"), a=st.floats(), b=st.none() | st.floats(), n=NUMBERS, m=st.none() | NUMBERS, either=NUMBERS,
    series=st.lists(NUMBERS, max_size=4), table=st.dictionaries(st.just("x"), st.lists(NUMBERS, max_size=2)),
))  # fmt: skip
def test_the_compiled_check_finds_what_a_look_at_every_part_finds(value: Wide) -> None:
    found = number_check(Wide)(value)
    assert (found is None) == (find_bad_number(value) is None)


@given(st.recursive(NUMBERS | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.text(max_size=3), inner, max_size=3)))  # fmt: skip
def test_what_json_cannot_say_is_found_in_it(value: Any) -> None:
    """Python's own `json` writes NaN and infinity all the same; whatever it wrote is decoded, or its field is named."""
    text = json.dumps(value).encode()
    try:
        msgspec.json.decode(text)
    except DECODE_ERRORS as error:
        found = json_problem(text, error)
        assert found.problem.endswith("expected a finite number"), found


@pytest.mark.parametrize(
    ("text", "field", "problem"),
    [
        (b'{"a":NaN}', "a", "NaN, expected a finite number"),
        (b'[{"a":1},{"a":-Infinity}]', "[1].a", "-Infinity, expected a finite number"),
        (b'{"a":1e999}', "a", "1e999, expected a finite number"),
        (b'{"x":"NaN","a":[', "", "Input data was truncated"),
        (b'{"a":"\xff"}', "", "not UTF-8"),
        (b"[" * 100_000, "", "nested too deeply"),
    ],
)
def test_what_is_said_about_bytes_that_are_no_json(text: bytes, field: str, problem: str) -> None:
    with pytest.raises(DECODE_ERRORS) as error:
        msgspec.json.decode(text)
    assert json_problem(text, error.value) == BadValue(field, problem)


@pytest.mark.parametrize("depth", range(300, 1000, 50))
def test_a_nan_at_any_depth_is_an_error_with_a_reason(depth: int) -> None:
    text = b"[" * depth + b"NaN" + b"]" * depth
    with pytest.raises(DECODE_ERRORS) as error:
        msgspec.json.decode(text)
    problem = json_problem(text, error.value).problem
    assert problem.startswith(("NaN, expected a finite number", "nested too deeply", "JSON is malformed"))


def test_an_integer_beyond_every_float_is_named_and_cut_short() -> None:
    text = b'{"id":"k","series":[1,' + b"1" * 400 + b"]}"
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.json.decode(text, type=Wide)
    assert json_problem(text, error.value) == BadValue("series[1]", f"{'1' * 40}..., expected a finite number")


def test_a_field_of_the_wrong_type_is_named_as_the_decoder_names_it() -> None:
    text = b'{"id":"k","series":[1,"x"]}'
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.json.decode(text, type=Wide)
    assert json_problem(text, error.value) == BadValue("series[1]", "Expected `float`, got `str`")


def test_the_record_of_an_array_is_named_by_its_position() -> None:
    assert BadValue("[3].where.lat", "bad").named_in("record") == "record 3: where.lat: bad"
    assert BadValue("[3]", "bad").named_in("record") == "record 3: bad"
    assert BadValue("x[3]", "bad").named_in("record") == "x[3]: bad"
