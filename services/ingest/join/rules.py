"""What the join of a partition is told, and what it tells: rules, pairs, rejected records, counts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

from services.ingest.join.state.records import Record

EVENTS, LABELS = 0, 1
SIDES = (EVENTS, LABELS)

KeyOf = Callable[[bytes], str]
"""A record's key from its value; raises ValueError (as msgspec's errors are) if the value does not fit the schema."""
Kept = Callable[[Any, str], Any]
"""What of a record's message must be kept while the record is open, from the message and the key."""
Policy = Literal["wait", "dead_letter"]


class Pair(NamedTuple):
    """An event with its label. None: its window has closed without one. `corrected`: it had another label before."""

    key: str
    event: Record
    label: Record | None
    corrected: bool = False


new_pair = partial(tuple.__new__, Pair)
"""A Pair from its four fields in a tuple, without a call of Python code."""


class Rejected(NamedTuple):
    """A record that could not be decoded, or that found no other half where that makes it a dead letter."""

    side: int
    record: Record
    error: Exception


class UnmatchedError(ValueError):
    """A record's other half did not come."""


class OutOfBoundsError(UnmatchedError):
    """A record's timestamp was out of bounds, and its other half did not come."""


@dataclass
class Counts:
    """What happened, for metrics; nothing is counted twice by a rebuild. Lists are by side."""

    matched: int = 0
    duplicates: int = 0
    defaults: int = 0
    corrected: int = 0
    sampled_out: int = 0
    expired: list[int] = field(default_factory=lambda: [0, 0])
    out_of_bounds: list[int] = field(default_factory=lambda: [0, 0])
    evicted: int = 0
    forgotten: int = 0
    sample: tuple[int, Record] | None = None
    """Side and record of one that was out of bounds."""


@dataclass
class Output:
    """What is to be sent, in one transaction with the positions."""

    pairs: list[Pair] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


@dataclass(frozen=True)
class Rules:
    """How a pipeline joins.

    `window_ms`: how far apart an event and its label may be. `skew_ms`: see `LogClock`; None: a window.
    `out_of_bounds`: whether a record out of bounds that expires becomes a dead letter; `late`: whether a label that
    expires does. `defaults`: whether an event that expires makes a pair without a label. `corrections`: whether further
    labels of an event make pairs where they differ from the one before. `kept`, `kept_whole`: see `Kept`; the latter of
    a record that may become a dead letter.
    """

    window_ms: int
    skew_ms: int | None = None
    out_of_bounds: Policy = "wait"
    kept: Kept = lambda message, _key: message
    kept_whole: Kept = lambda message, _key: message
    late: Literal["drop", "dead_letter"] = "drop"
    defaults: bool = False
    corrections: bool = False

    @property
    def skew(self) -> int:
        """`skew_ms`, the default filled in."""
        return self.window_ms if self.skew_ms is None else self.skew_ms
