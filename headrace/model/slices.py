"""Slices of events: those whose fields have certain values. pipeline.yaml writes them out; alerts name them by id.

    {zone: 7, kind: [city, country], hour: {from: 7, to: 9}}

takes the events of zone 7, of either kind, from 7 on and before 9; `zone: {}` those with any zone. In the id of an
alert a slice is each part `field=value`, or `field=from..to`, where several are parted by `/`:
`rides/slice_error/zone=7/hour=7..9`. A part that is a field alone, as in `rides/feature_drift/zone`, says that the
field has changed as a whole: its slice is all events that have it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

_RANGE = frozenset({"from", "to"})
_SCALARS = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class FieldTest:
    """What a slice asks of one field: one of `values`, or a number that is at least `low` and less than `high`.

    Without any of them any value will do.
    """

    field: str
    values: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None

    def takes(self, value: Any) -> bool:
        """Whether a field's value, as it is in JSON, passes."""
        if self.low is None and self.high is None:
            return not self.values or any(
                value == wanted and isinstance(value, bool) == isinstance(wanted, bool) for wanted in self.values
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return (self.low is None or value >= self.low) and (self.high is None or value < self.high)


@dataclass(frozen=True)
class Slice:
    """Events that pass every test."""

    tests: tuple[FieldTest, ...]

    def takes(self, event: Mapping[str, Any]) -> bool:
        """Whether an event, its fields by their names in JSON, is in the slice."""
        return all(test.field in event and test.takes(event[test.field]) for test in self.tests)


def parse_slice(written: Mapping[str, Any]) -> Slice:
    """The slice that is written out as field and value, list of values, or range.

    Raises:
        ValueError: one of these is something else; the text names the field.
    """
    if not written:
        raise ValueError("a slice needs at least one field")
    return Slice(tuple(_test(name, value) for name, value in written.items()))


def _test(name: str, value: Any) -> FieldTest:
    if isinstance(value, Mapping):
        if set(value) - _RANGE:
            raise ValueError(f"{name}: a range has `from`, `to` or both, got {', '.join(map(str, value))}")
        bounds = [value.get("from"), value.get("to")]
        if any(isinstance(b, bool) or not isinstance(b, int | float) for b in bounds if b is not None):
            raise ValueError(f"{name}: `from` and `to` are numbers")
        return FieldTest(name, low=bounds[0], high=bounds[1])
    values = list(value) if isinstance(value, list | tuple) else [value]
    if not values or not all(isinstance(one, _SCALARS) for one in values):
        raise ValueError(f"{name}: a value, a list of values, or {{from: a, to: b}}")
    return FieldTest(name, tuple(values))


def slice_of_alert(identity: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """The slice that an alert's id names, as `parse_slice` takes it; None where it names none.

    `fields` are the event's fields by their names in JSON, with their types: a part that names another one is none.
    """
    found: dict[str, Any] = {}
    for part in identity.split("/")[2:]:  # after the model and the alert's name
        name, sign, text = part.partition("=")
        if name not in fields:
            continue
        if not sign:
            found[name] = {}
            continue
        low, dots, high = text.partition("..")
        try:
            if dots:
                found[name] = {k: float(v) for k, v in (("from", low), ("to", high)) if v}
            else:
                found[name] = msgspec.to_builtins(msgspec.convert(text, fields[name], strict=False))
        except (ValueError, msgspec.ValidationError):
            return None
    return found or None


def slice_problems(
    slices: Sequence[Mapping[str, Any]], event_type: type[msgspec.Struct]
) -> Iterator[tuple[int, str, str]]:
    """What is wrong with slices of these events: which slice, the field ("" for the slice as a whole), and why."""
    known = event_fields(event_type)
    for i, written in enumerate(slices):
        try:
            parse_slice(written)
        except ValueError as error:
            yield i, "", str(error)
            continue
        for name in sorted(set(written) - set(known)):
            yield i, name, f"{event_type.__name__} has {', '.join(known)}"


def event_fields(event_type: type[msgspec.Struct]) -> dict[str, Any]:
    """An event's fields by their names in JSON, with their types."""
    return {field.encode_name: field.type for field in msgspec.structs.fields(event_type)}
