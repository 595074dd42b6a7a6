"""Keys of records, from their values."""

from collections.abc import Sequence
from operator import attrgetter

import msgspec


class KeyReader:
    """The key of a record as text; the whole value is checked against the schema.

    Args:
        decoder: of the records' type, a struct.
        key: the name of the struct's field.
    """

    def __init__(self, decoder: msgspec.json.Decoder[msgspec.Struct], key: str) -> None:
        self._decode, self._get = decoder.decode, attrgetter(key)
        kinds = {field.name: field.type for field in msgspec.structs.fields(decoder.type)}
        self._is_text = kinds[key] is str

    def __call__(self, value: bytes) -> str:
        """One record's.

        Raises:
            msgspec.DecodeError: a ValueError: the value does not fit the schema.
        """
        return str(self._get(self._decode(value)))

    def column(self, values: Sequence[bytes]) -> list[str]:
        """Those of many, without a call of Python code for each; raises as for the first value that does not fit."""
        found = map(self._get, map(self._decode, values))
        return list(found if self._is_text else map(str, found))
