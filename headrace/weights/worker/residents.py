"""The versions that a worker holds: the one that answers, those that did before and are kept, and the one staged.

Whoever owns a `Residents` holds its lock for every call.
"""

import mmap
from collections.abc import Iterator, Mapping

from headrace.weights.worker.source import Bound
from headrace.weights.worker.version_policy import VersionPolicy

STABLE = "stable"


class Resident:
    """A version in this process, with the number of leases on it."""

    __slots__ = ("bound", "leases", "mapped", "retired", "seconds")

    def __init__(self, bound: Bound, mapped: mmap.mmap, seconds: dict[str, float]) -> None:
        self.bound = bound
        self.mapped: mmap.mmap | None = mapped
        self.leases = 0
        self.retired = False
        self.seconds = seconds


class Residents:
    """See the module. The version before the live one is always kept, so that a rollback is a flip.

    Attributes:
        current: the one that answers.
        before: those that answered before and are kept, the last one first.
        staged: one that is warm, and answers next.
        labels: digests of versions by what the fleet calls them.
    """

    def __init__(self, policy: VersionPolicy) -> None:
        self.policy = policy
        self.current: Resident | None = None
        self.before: list[Resident] = []
        self.staged: Resident | None = None
        self.labels: Mapping[str, str] = {}

    def __iter__(self) -> Iterator[Resident]:
        return (one for one in (self.current, self.staged, *self.before) if one is not None)

    def find(self, digest: str) -> Resident | None:
        """The version of this digest."""
        return next((one for one in self if one.bound.checkpoint == digest), None)

    def numbered(self, version: int) -> Resident | None:
        """The version of this number."""
        return next((one for one in self if one.bound.version == version), None)

    def flip(self, chosen: Resident) -> list[Resident]:
        """Have a version that is held answer; returns those that are kept no more."""
        if chosen is self.current:
            return []
        held = [one for one in (self.current, *self.before) if one is not None and one is not chosen]
        self.current = chosen
        self.staged = None if self.staged is chosen else self.staged
        return self._keep(held)

    def add(self, kept: Resident) -> list[Resident]:
        """Keep a version that served elsewhere; returns those that are kept no more, itself perhaps."""
        return self._keep([*self.before, kept])

    def _keep(self, held: list[Resident]) -> list[Resident]:
        live = [self.current.bound.version] if self.current is not None else []
        kept = self.policy.kept([*live, *(one.bound.version for one in held)])
        self.before = [one for at, one in enumerate(held) if at == 0 or one.bound.version in kept]
        return [one for one in held if one not in self.before]

    def versions(self) -> list[int]:
        """The versions that may be named, ascending."""
        if self.current is None:
            return []
        return sorted(self.policy.kept([one.bound.version for one in (self.current, *self.before)]))

    def labelled(self) -> dict[str, int]:
        """The versions that may be named by a label; without a word from the fleet, the live one is the stable one."""
        if self.current is None:
            return {}
        if not self.labels:
            return {STABLE: self.current.bound.version}
        held = ((label, self.find(digest)) for label, digest in self.labels.items())
        return {label: one.bound.version for label, one in held if one is not None}
