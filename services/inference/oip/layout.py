"""A request's columns, and how they came: what can be joined with another request's."""

from dataclasses import dataclass
from typing import Any, NamedTuple


class Column(NamedTuple):
    """How one input came: its place in the schema, elements a row, and whether as bytes or with nulls."""

    place: int
    width: int
    raw: bool
    nulls: bool


Layout = tuple[Column, ...]


@dataclass(slots=True)
class Table:
    """One request's columns, in the schema's order: bytes where the layout says `raw`, else lists of elements."""

    rows: int
    layout: Layout
    parts: list[Any]
