r"""From whom to take a chunk: striped trees, after SplitStream (Castro et al., SOSP 2003).

The chunks of a version are dealt out over stripes, chunk i to stripe i mod S. Each stripe flows down a tree of its own
over all members. The trees are rotations of one another: who is above others in one is a leaf in most. So the store is
asked for each chunk once, by the root of its stripe, and everybody sends about as much as he takes, which one tree for
everything would
not give: there the leaves' bandwidth is of no use.

    members A B C D E F, 2 below each, 3 stripes:      A            C            E
                                                      / \          / \          / \
                                                     B   C        D   E        F   A
                                                    / \  |       / \  |       / \  |
                                                   D   E F      F   A B      B   C D

If the one above is away, the one above him is asked, and so on; then the store.
"""

import ipaddress
import time
import zlib
from collections.abc import Callable

from headrace.contracts.events_pb2 import RolloutDirective

MOST_PEERS = 3
"""Agents asked for a chunk, one after the other, before the store is."""

Plan = RolloutDirective.Peers
Member = RolloutDirective.Peers.Member


def root(stripe: int, stripes: int, members: int) -> int:
    """Return the member that takes a stripe from the store."""
    return stripe * members // stripes


def above(member: int, stripe: int, stripes: int, members: int, fan_out: int) -> int | None:
    """Return the member from which a member takes a stripe; None for the root, who takes it from the store."""
    start = root(stripe, stripes, members)
    level_order = (member - start) % members
    return None if level_order == 0 else (start + (level_order - 1) // fan_out) % members


def is_loopback(address: str) -> bool:
    """Whether an address means something else on every host."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Shunned:
    """Addresses that are left alone for a while, after they were away, slow or wrong. Used by one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._until: dict[str, float] = {}
        self._clock = clock

    def add(self, address: str, seconds: float) -> None:
        """Leave an address alone for so long from now."""
        self._until[address] = self._clock() + seconds

    def __contains__(self, address: object) -> bool:
        now = self._clock()
        self._until = {known: until for known, until in self._until.items() if until > now}
        return address in self._until


class Routes:
    """One agent's view of a plan.

    An agent that the plan does not name, because it came later, takes what it can from members, another one for each
    stripe; nobody takes anything from it.

    Args:
        plan: the coordinator's.
        agent: this agent's name.
        host: this agent's host: loopback addresses of others lead nowhere.
        shunned: addresses to do without.
    """

    def __init__(self, plan: Plan, *, agent: str, host: str, shunned: Shunned | None = None) -> None:
        self._plan = plan
        self._agent = agent
        self._host = host
        self._shunned = shunned or Shunned()
        self._number = next((n for n, member in enumerate(plan.members) if member.agent == agent), None)
        self._by_stripe: dict[int, list[str]] = {}

    @property
    def min_bytes(self) -> int:
        """Bytes below which peers are not worth it."""
        return int(self._plan.min_bytes)

    def peers(self, chunk: int) -> list[str]:
        """Return the addresses at which to ask for a chunk, in this order; then the store.

        Empty for the store at once.
        """
        if not self._plan.members:
            return []
        stripe = chunk % max(1, self._plan.stripes)
        if stripe not in self._by_stripe:
            self._by_stripe[stripe] = self._of_stripe(stripe)
        return self._by_stripe[stripe]

    def _of_stripe(self, stripe: int) -> list[str]:
        members = self._plan.members
        order = self._ancestors(stripe) if self._number is not None else self._spread(stripe)
        usable = (members[n].address for n in order if self._usable(members[n]))
        return list(dict.fromkeys(usable))[:MOST_PEERS]

    def _ancestors(self, stripe: int) -> list[int]:
        plan, found = self._plan, list[int]()
        number = self._number
        while number is not None:
            number = above(number, stripe, max(1, plan.stripes), len(plan.members), max(1, plan.fan_out))
            if number is not None:
                found.append(number)
        return found

    def _spread(self, stripe: int) -> list[int]:
        start, count = zlib.crc32(self._agent.encode()) + stripe, len(self._plan.members)
        return [(start + n) % count for n in range(count)]

    def _usable(self, member: Member) -> bool:
        if not member.address or member.agent == self._agent or member.address in self._shunned:
            return False
        return member.host == self._host or not is_loopback(member.address)
