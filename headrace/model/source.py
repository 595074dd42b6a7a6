"""Where a pipeline's example data comes from: records with the time at which each became known."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec

Kind = Literal["events", "labels"]


class Timed(msgspec.Struct, frozen=True):
    """One record: `at` is when it became known, in event time (seconds since the epoch); `kind` is the topic it belongs on."""

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
