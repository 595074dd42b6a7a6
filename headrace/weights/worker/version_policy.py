"""Which versions of a model requests may name, beside the one that is live."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MOST = 32
"""Versions that are kept at most: each is a slot of shared memory."""


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """The live version may always be named.

    Attributes:
        latest: how many of the versions that served last are kept, the live one among them.
        specific: where there are any, the versions that are kept instead, once each has served.
    """

    latest: int = 2
    specific: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, text: str) -> "VersionPolicy":
        """A policy as settings write it: `latest`, `latest:N`, `all`, or `specific:V,V`.

        Raises:
            ValueError: it is none.
        """
        kind, _, rest = text.partition(":")
        numbers = [int(part) for part in rest.split(",") if part.strip().isascii() and part.strip().isdigit()]
        whole = len(numbers) == len(rest.split(",")) and all(numbers)
        if text == "all":
            return cls(MOST)
        if text == "latest":
            return cls(1)
        if kind == "latest" and whole and len(numbers) == 1 and numbers[0] <= MOST:
            return cls(numbers[0])
        if kind == "specific" and whole and len(numbers) < MOST:
            return cls(1, frozenset(numbers))
        raise ValueError(f"{text!r} is no version policy: latest:N up to {MOST}, all, or specific:V,V,...")

    @property
    def most(self) -> int:
        """How many versions it keeps at most, the live one among them."""
        return max(self.latest, 1 + len(self.specific))

    def kept(self, served: Sequence[int]) -> list[int]:
        """Those to keep of the versions that served, which are given with the live one first."""
        if self.specific:
            return [version for at, version in enumerate(served) if at == 0 or version in self.specific]
        return list(served[: self.latest])

    def as_config(self) -> dict[str, Any]:
        """A ModelVersionPolicy of the protocol."""
        if self.specific:
            return {"specific": {"versions": sorted(self.specific)}}
        return {"all": {}} if self.latest == MOST else {"latest": {"num_versions": self.latest}}


TWO = VersionPolicy()
"""The live version and the one before it, which are held in any case."""
