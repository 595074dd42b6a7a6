"""What is wrong with JSON that could not be decoded: the field and the problem."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from headrace.model.values import BadValue

DECODE_ERRORS = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What decoding bytes from outside may raise."""

_PLACE = re.compile(r" - at `(?:key in )?\$([^`]*)`$")
_SHOWN = 40
_LONGEST = 1 << 22
"""Bytes that are read again, by the slow parser of Python itself, to find out what was wrong."""


def json_problem(data: bytes | memoryview, error: Exception) -> BadValue:
    """What `error`, one of `DECODE_ERRORS` raised over `data`, says.

    The field of a record in an array begins with its index: `[3].load`.
    """
    if isinstance(error, UnicodeError):
        return BadValue("", "not UTF-8")
    if isinstance(error, RecursionError):
        return BadValue("", "nested too deeply")
    text = str(error)
    if text.startswith(("JSON is malformed", "Number out of range")):
        try:
            found = next(_numbers(with_endless_numbers(data), ""), None)
        except RecursionError:
            return BadValue("", "nested too deeply")
        if found is not None:
            return BadValue(found[0].removeprefix("."), f"{found[1]}, expected a finite number")
    place = _PLACE.search(text)
    return BadValue(place[1].removeprefix("."), text[: place.start()]) if place else BadValue("", text)


class EndlessNumber(str):
    """NaN or an infinity as Python's own `json` writes them, or a number too large for a float; as it was written."""

    __slots__ = ()


def with_endless_numbers(data: bytes | memoryview) -> Any | None:
    """The content of JSON whose only error is that it has `EndlessNumber`s; None for any other error."""
    if len(data) > _LONGEST:
        return None
    try:
        return json.loads(bytes(data), parse_constant=EndlessNumber, parse_float=_number, parse_int=_number)
    except (ValueError, RecursionError):
        return None


def _number(text: str) -> Any:
    """The text of a number that is too large, shortened; 0 for others, whose values are not needed here."""
    return EndlessNumber(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...") if math.isinf(float(text)) else 0


def _numbers(value: Any, field: str) -> Iterator[tuple[str, EndlessNumber]]:
    """The `EndlessNumber`s in a value with their places, in order."""
    if isinstance(value, EndlessNumber):
        yield field, value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _numbers(part, f"{field}.{name}")
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from _numbers(part, f"{field}[{i}]")
