"""Whether a record comes out of its JSON as it went in, so that readers see what the pipeline's source gave."""

from typing import Any

import msgspec

from headrace.model.json_errors import DECODE_ERRORS, json_problem
from headrace.model.values import BadValue, number_check

_SEQUENCES = (list, tuple)
"""A tuple in the place of a list is the same JSON."""


class RoundTrip:
    """Checks records of one struct, made by Python code that nothing has checked yet."""

    def __init__(self, decoder: msgspec.json.Decoder[Any]) -> None:
        self._decode, self._type, self._check = decoder.decode, decoder.type, number_check(decoder.type)
        self._encode = msgspec.json.Encoder().encode

    def problem(self, value: Any) -> BadValue | None:
        """What is wrong with a record; None where readers will see the same."""
        if not isinstance(value, self._type):
            return BadValue("", f"a {type(value).__name__}, expected a {self._type.__name__}")
        if (bad := self._check(value)) is not None:
            return bad
        try:
            text = self._encode(value)
        except (TypeError, ValueError, OverflowError) as error:
            return self._not_encoded(value, error)
        try:
            again = self._decode(text)
        except DECODE_ERRORS as error:
            return json_problem(text, error)
        return None if again == value else _difference(value, again)

    def _not_encoded(self, value: Any, error: Exception) -> BadValue:
        for name, encoded in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
            try:
                self._encode(getattr(value, name))
            except (TypeError, ValueError, OverflowError) as own:
                return BadValue(encoded, f"no value that JSON has: {own}")
        return BadValue("", str(error))


def _difference(value: Any, again: Any) -> BadValue | None:
    """The first field that reads back differently; None where structs differ in identity alone."""
    for name, encoded in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
        one, other = getattr(value, name), getattr(again, name)
        if one == other or (isinstance(one, _SEQUENCES) and isinstance(other, _SEQUENCES) and [*one] == [*other]):
            continue
        if isinstance(one, msgspec.Struct) and type(one) is type(other):
            inner = _difference(one, other)
            if inner is not None:
                return inner._replace(field=f"{encoded}.{inner.field}")
        else:
            return BadValue(encoded, f"{one!r}, and {other!r} after JSON and back")
    return None
