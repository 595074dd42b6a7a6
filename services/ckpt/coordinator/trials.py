"""A version that has begun to serve, and what its workers report of it: on canaries, or as the fleet's active version.

A worker that fails to activate is tried again by its agent, and most often then succeeds; so a failure counts only once
it has lasted. A worker that served the version and found that it cannot go on counts at once, and for good: the worker
may be gone by then.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from headrace.contracts.events_pb2 import WeightsApplied
from headrace.rollouts.reports import FAILED, SERVING
from services.ckpt.coordinator.policy import Policy, Verdict
from services.ckpt.coordinator.workers import FleetWorker


@dataclass
class VersionTrial:
    """How a version does on the workers that it was given to.

    Attributes:
        digest: the version's.
        since: when it began to serve, in seconds since the epoch.
        voters: the workers that it was given to; None until they are known: there was none, or a coordinator that takes
            over has yet to learn who is there.
        failed: when a worker failed to activate it, and has not succeeded since.
        broken: the workers that served it and found that they cannot go on.
        errors: what each worker last failed with.
    """

    digest: str
    since: float
    voters: frozenset[str] | None = None
    failed: dict[str, float] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    errors: dict[str, str] = field(default_factory=dict)

    def on_applied(self, applied: WeightsApplied, now: float) -> None:
        """Take note of a worker's report; one about another version says nothing here."""
        if applied.manifest_digest != self.digest:
            return
        name = applied.worker
        if applied.state in SERVING:
            self.failed.pop(name, None)
        elif applied.state == FAILED and not applied.chunks_lost:  # else the stores are at fault, not the weights
            self.errors[name] = applied.error
            self.failed.setdefault(name, now)
            if applied.while_serving:
                self.broken.add(name)

    def failing(self, now: float, grace_s: float) -> set[str]:
        """The voters whose failure counts by now."""
        lasting = {name for name, at in self.failed.items() if now - at >= grace_s}
        return (lasting | self.broken) & (self.voters or frozenset())

    def verdict(self, workers: AbstractSet[str], policy: Policy, now: float) -> Verdict | None:
        """Against the version, if so many workers fail that the quorum is lost; else None."""
        if not self.voters:  # those who come next must prove it
            self.voters = frozenset(workers)
        failing = self.failing(now, policy.activate_grace_s)
        present = (self.voters & workers) | failing
        if not failing or len(present) - len(failing) >= policy.needed(len(present)):
            return None
        reason = f"failed on {len(failing)} of {len(present)} workers, {self.first_error(failing)}"
        return Verdict(go=False, reason=reason, cause="failures")

    def first_error(self, failing: set[str]) -> str:
        """One of the failures, for people."""
        name = min(failing)
        return f"{name}: {self.errors.get(name) or 'no reason given'}"


@dataclass
class CanaryTrial:
    """A version that a share of the workers serves first.

    Attributes:
        trial: how it does on them.
        until: when it is over, in seconds since the epoch; infinite where an operator says when.
        again: these are the second canaries, because none of the first was left.
        operation: the id of the operator's request by which it is on canaries; "" where it came by itself.
    """

    trial: VersionTrial
    until: float
    again: bool = False
    operation: str = ""

    @property
    def digest(self) -> str:
        """The version's."""
        return self.trial.digest

    @property
    def names(self) -> frozenset[str]:
        """The workers that serve it."""
        return self.trial.voters or frozenset()

    def verdict(self, workers: Mapping[str, FleetWorker], policy: Policy, now: float) -> Verdict | None:
        """What becomes of the version; None while it is open. Any canary's failure speaks against it."""
        failing = self.trial.failing(now, policy.activate_grace_s)
        if failing:
            return Verdict(go=False, reason=f"failed on canary {self.trial.first_error(failing)}", cause="failures")
        if now < self.until or not workers:
            return None
        names = self.names
        serving = {name for name in names & workers.keys() if workers[name].serving == self.digest}
        if serving:
            return Verdict(go=True, reason=f"canary: {len(serving)} of {len(names)} served it without an alert")
        return Verdict(go=False, reason=f"none of its canaries serves it: {', '.join(sorted(names))}", cause="silence")
