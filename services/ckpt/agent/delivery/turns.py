"""A host's workers stage in turn, so that serving always has cores left.

Each worker stages by itself: it maps the version, checks every byte and warms up. If all workers of a host staged at
once, they would keep all its cores busy, while serving threads wait for the interpreter that a staging thread holds. In
turn they need the same time together, and disturb less.

A slow worker must not keep the others from staging in time: the time until the coordinator stops waiting is divided
evenly over the workers that stage and those that wait for their turn. A worker that needs more than its share goes on,
and the next one begins beside it.
"""

from dataclasses import dataclass

from headrace.weights.worker.wire import Failed, Stage, Staged, ToAgent
from services.ckpt.agent.state import Connection, Send

PATIENCE_S = 5.0
"""A worker that takes longer than this to stage keeps no other waiting, however long the coordinator waits."""


@dataclass(frozen=True)
class Turn:
    """A worker stages: which version, since when, and until when the coordinator waits for it."""

    digest: str
    since: float
    by: float

    def ends(self, rounds: int, patience_s: float) -> float:
        """When the turn ends if ``rounds`` more turns must fit in; one begun after ``by`` ends after ``patience_s``."""
        left = self.by - self.since
        return self.since + (min(patience_s, left / (1 + rounds)) if left > 0 else patience_s)


class Turns:
    """Passes messages on to workers; holds a `Stage` and all that follows it back until it is that worker's turn.

    Args:
        at_once: workers that stage at the same time.
        patience_s: after so many seconds at most, a turn is over.
    """

    def __init__(self, at_once: int, patience_s: float = PATIENCE_S) -> None:
        self._at_once = at_once
        self._patience_s = patience_s
        self._turns: dict[Connection, Turn] = {}
        self._held: dict[Connection, list[Send]] = {}

    def pass_on(self, send: Send, now: float) -> list[Send]:
        """Return what to send now: the message, or nothing yet."""
        connection, message = send.connection, send.message
        if connection in self._held:
            self._held[connection].append(send)
            return []
        if isinstance(message, Stage):
            if connection not in self._turns and len(self._turns) >= self._at_once:
                self._held[connection] = [send]
                return []
            self._turns[connection] = Turn(message.digest, now, send.by)
        return [send]

    def on_message(self, connection: Connection, message: ToAgent, now: float) -> list[Send]:
        """Take a worker's message; return what may be sent to others after it."""
        turn = self._turns.get(connection)
        if turn is not None and isinstance(message, Staged | Failed) and message.digest == turn.digest:
            del self._turns[connection]
        return self._next(now)

    def on_gone(self, connection: Connection, now: float) -> list[Send]:
        """A connection ended; return what may be sent to others."""
        self._turns.pop(connection, None)
        self._held.pop(connection, None)
        return self._next(now)

    def on_tick(self, now: float) -> list[Send]:
        """End turns that take too long; return what may be sent to others."""
        rounds = self._rounds
        self._turns = {who: turn for who, turn in self._turns.items() if now < turn.ends(rounds, self._patience_s)}
        return self._next(now)

    @property
    def next_end(self) -> float:
        """When `on_tick` has something to do, unless a worker says something before; inf where no worker waits."""
        rounds = self._rounds
        return min(
            (turn.ends(rounds, self._patience_s) for turn in self._turns.values() if rounds), default=float("inf")
        )

    @property
    def _rounds(self) -> int:
        """How many turns after the present ones the waiting workers need, one after the other."""
        return -(-len(self._held) // self._at_once)

    def _next(self, now: float) -> list[Send]:
        sends: list[Send] = []
        while self._held and len(self._turns) < self._at_once:
            connection = next(iter(self._held))
            held = self._held.pop(connection)
            (*_, last) = (Turn(send.message.digest, now, send.by) for send in held if isinstance(send.message, Stage))
            self._turns[connection] = last
            sends += held
        return sends
