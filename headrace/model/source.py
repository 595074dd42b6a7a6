"""Where a pipeline's example data comes from: records with the time at which each became known."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

Kind = Literal["events", "labels"]


class Timed(msgspec.Struct, frozen=True):
    """One record: `at` is when it became known, in seconds since the epoch; `kind` is the topic that it goes to."""

    at: float
    kind: Kind
    value: msgspec.Struct


class Source(ABC):
    """A pipeline's own data, real or generated, to replay."""

    options: ClassVar[Mapping[str, Any]] = {}
    """Options that `replay` takes, with their defaults; `headrace produce --option name=value` sets them."""

    @abstractmethod
    def replay(self, **options: Any) -> Iterator[Timed]:
        """Events and labels in the order of `at`; the same for the same options."""

    @abstractmethod
    def sample(self, count: int) -> Sequence[msgspec.Struct]:
        """A few typical events, for `headrace check` and for warming up a network."""


@dataclass(frozen=True)
class BadRow:
    """A row or record that does not fit the pipeline's structs.

    `place` is where it stands: `events.csv:3`, lines from 1, or `record 3 of MySource`. `field` is empty
    where the problem is not in one field.
    """

    place: str
    field: str
    problem: str

    @classmethod
    def at_line(cls, file: Path, line: int, field: str, problem: str) -> "BadRow":
        """A row of a file, which begins on `line`."""
        return cls(f"{file}:{line}", field, problem)

    def __str__(self) -> str:
        field = f"{self.field}: " if self.field else ""
        return f"{self.place}: {field}{self.problem}"


Item = Timed | BadRow
