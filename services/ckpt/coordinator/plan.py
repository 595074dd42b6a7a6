"""Plans from which agents each agent takes a version, by the agents' reports alone: no clock, no client.

A coordinator that takes over reads the reports again, knows the same agents, and plans the same. What was planned
before is in the STAGE directive, which compaction keeps.
"""

from dataclasses import dataclass

from headrace.contracts.events_pb2 import RolloutDirective, WeightsApplied
from headrace.weights import Manifest, WeightsError
from headrace.weights.host.peers.routes import Member, Plan, is_loopback

ROWS = 4
"""Chunks that a stripe has at least: what flows down a tree chunk by chunk must be more than one."""


@dataclass(frozen=True)
class PeerPolicy:
    """How agents take versions from each other.

    Attributes:
        min_bytes: payloads smaller than that are left to the store.
        fan_out: agents below an agent in a tree; 0 plans nothing.
        stripes: trees, at most.
        ttl_s: seconds without a report after which an agent is left out.
    """

    min_bytes: int = 16 << 20
    fan_out: int = 4
    stripes: int = 8
    ttl_s: float = 5.0


@dataclass(frozen=True)
class _Heard:
    """What a worker's last report says of its agent."""

    member: tuple[str, str, str]
    """Agent, address, host."""
    at: float


class PeerPlanner:
    """Knows the agents of all models, and completes their STAGE directives."""

    def __init__(self, policy: PeerPolicy) -> None:
        self._policy = policy
        self._heard: dict[str, dict[str, _Heard]] = {}

    def on_applied(self, applied: WeightsApplied, at: float) -> None:
        """Take note of a worker's report, and of its agent by it."""
        workers = self._heard.setdefault(applied.model, {})
        if applied.state == WeightsApplied.LEFT or not applied.peer_address:
            workers.pop(applied.worker, None)
        else:
            workers[applied.worker] = _Heard((applied.agent, applied.peer_address, applied.host), at)

    def complete(self, directives: list[RolloutDirective], now: float) -> None:
        """Give every STAGE directive a plan, where one is worth it."""
        for directive in directives:
            if directive.action == RolloutDirective.STAGE:
                plan = self._plan(directive, now)
                if plan is not None:
                    directive.peers.CopyFrom(plan)

    def _plan(self, directive: RolloutDirective, now: float) -> Plan | None:
        policy = self._policy
        members = self._members(directive.model, now)
        if policy.fan_out < 1 or len(members) <= 1:
            return None
        try:
            manifest = Manifest.decode(directive.manifest)
        except WeightsError:
            return None  # the agents will refuse it, and say why
        if manifest.size < policy.min_bytes:
            return None
        start = directive.version % len(members)  # the roots have more to do than the rest: not always the same
        return Plan(
            members=[*members[start:], *members[:start]],
            fan_out=policy.fan_out,
            stripes=max(1, min(policy.stripes, len(members), len(manifest.chunks) // ROWS)),
            min_bytes=policy.min_bytes,
        )

    def _members(self, model: str, now: float) -> list[Member]:
        """The living agents that can reach each other, by name: loopback addresses mean something on one host only."""
        living = {h.member for h in self._heard.get(model, {}).values() if now - h.at <= self._policy.ttl_s}
        groups: dict[str, dict[str, Member]] = {}
        for agent, address, host in sorted(living):
            group = groups.setdefault(host if is_loopback(address) else "", {})
            group[agent] = Member(agent=agent, address=address, host=host)
        largest = max(groups.values(), key=len, default={})
        return list(largest.values())
