"""Staging beside serving: how a thread that has time gives way to threads that have none.

Threads of one Python process take turns at the interpreter. One that asks for it while another computes in Python waits
until that one pauses, or for the switch interval; and one that wakes from sleep does not get it from one that merely
offers it, since the offering thread is first to take it back. So staging is cut into pieces of well under a
millisecond,
and between two pieces the staging thread sleeps until no lease is held: a request waits for one piece at most.
"""

import threading
import time
from collections.abc import Callable

BREATH_S = 0.00005
"""The shortest sleep: long enough for a thread that waits for the interpreter to get it."""
WAIT_S = 0.002
"""A pause ends after this, even if leases are held all the time."""
BUDGET_S = 0.01
"""What the pauses of one staging may wait for leases, all together: on a worker that is never idle staging goes on."""

GiveWay = Callable[[], None]
"""Called between two pieces of work, each of which takes well under a millisecond."""


class StagingThrottle:
    """Counts leases for the staging thread.

    Args:
        lock: held by whoever calls `admitted` and `released`.
        wait_s: how long one pause waits for leases at most.
        budget_s: how long the pauses of one staging wait for leases, all together.
    """

    def __init__(self, lock: threading.Lock, *, wait_s: float = WAIT_S, budget_s: float = BUDGET_S) -> None:
        self._idle = threading.Condition(lock)
        self._serving = 0
        self._waiting = 0
        self._wait_s = wait_s
        self._budget_s = budget_s
        self.left_s = budget_s
        """What is left of the budget."""

    def admitted(self) -> None:
        """A lease began."""
        self._serving += 1

    def released(self) -> None:
        """A lease ended."""
        self._serving -= 1
        if self._waiting and not self._serving:
            self._idle.notify_all()

    def begin(self) -> None:
        """A version is going to be staged: its pauses have the whole budget."""
        self.left_s = self._budget_s

    def give_way(self) -> None:
        """Let whoever waits for the interpreter have it, and wait, for a bounded time, until no lease is held."""
        time.sleep(BREATH_S)
        if self.left_s <= 0:
            return
        began = time.perf_counter()
        with self._idle:
            self._waiting += 1
            self._idle.wait_for(lambda: not self._serving, min(self._wait_s, self.left_s))
            self._waiting -= 1
        self.left_s -= time.perf_counter() - began


def at_once() -> None:
    """A `GiveWay` for where nobody serves."""
