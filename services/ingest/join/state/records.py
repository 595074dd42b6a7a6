"""Records of a log, one by one and by column, and what is kept of their messages."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import msgspec

Headers = tuple[tuple[str, bytes | None], ...]


class Origin(msgspec.Struct, array_like=True, tag="o", frozen=True, gc=False):
    """What is kept of a record's message where it is not what its value says."""

    record_key: bytes | None
    kept_headers: Headers

    def key(self) -> bytes | None:
        """The Kafka key."""
        return self.record_key

    def headers(self) -> Headers:
        """Of an event, the trace context; all headers where the record may become a dead letter."""
        return self.kept_headers


class Answered(msgspec.Struct, array_like=True, tag="a", gc=False):
    """In the place of an event's message once it has a label: the message, and offset and value of the newest label."""

    message: Any
    offset: int
    value: bytes


class Record(NamedTuple):
    """A record as it came from the log; `message` is what else is needed of it, for whoever sends it on."""

    offset: int
    timestamp_ms: int
    value: bytes
    message: Any = None


new_record = partial(tuple.__new__, Record)
"""A Record from its fields in a tuple, without a call of Python code: for `map` over columns."""


@dataclass
class Records:
    """Records of one log in their order, by column."""

    offsets: list[int] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    messages: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, records: "Sequence[Record] | Records") -> "Records":
        """The columns of some records."""
        return records if isinstance(records, Records) else cls(*map(list, zip(*records, strict=True)))

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, part: slice) -> "Records":
        return Records(*(column[part] for column in self._columns()))

    def pick(self, indexes: Sequence[int]) -> "Records":
        """Some of them."""
        return Records(*([column[i] for i in indexes] for column in self._columns()))

    def _columns(self) -> tuple[list[Any], ...]:
        return self.offsets, self.timestamps, self.values, self.messages

    def rows(self) -> "zip[tuple[int, int, bytes, Any]]":
        """The fields of each."""
        return zip(*self._columns(), strict=True)

    def record(self, i: int) -> Record:
        """One of them."""
        return Record(self.offsets[i], self.timestamps[i], self.values[i], self.messages[i])
