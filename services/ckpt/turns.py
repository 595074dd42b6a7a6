"""A host's workers stage in turn, so that on its cores there is always room for those who serve.

Staging is work of each worker's own: mapping, checking every byte, a warm-up. All workers of a host at once would keep all its
cores busy for as long, beside serving threads that wait for the interpreter which a staging thread holds. In turn they take
no longer together, and disturb less.
"""

from headrace.weights.wire import Failed, Stage, Staged, ToAgent
from services.ckpt.agent_state import Connection, Send

PATIENCE_S = 5.0
"""A worker that takes longer to stage keeps nobody waiting any more."""


class Turns:
    """Passes messages on to workers, and holds a `Stage` back, with all that follows it, until it is that worker's turn.

    Args:
        at_once: workers that stage at the same time.
        patience_s: after so many seconds a turn is over.
    """

    def __init__(self, at_once: int, patience_s: float = PATIENCE_S) -> None:
        self._at_once = at_once
        self._patience_s = patience_s
        self._turns: dict[Connection, tuple[str, float]] = {}
        """Who stages: which version, and since when."""
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
            self._turns[connection] = message.digest, now
        return [send]

    def on_message(self, connection: Connection, message: ToAgent, now: float) -> list[Send]:
        """Take a worker's word; return what may be sent to others after it."""
        digest, _ = self._turns.get(connection, ("", 0.0))
        if isinstance(message, Staged | Failed) and message.digest == digest:
            del self._turns[connection]
        return self._next(now)

    def on_gone(self, connection: Connection, now: float) -> list[Send]:
        """A connection ended; return what may be sent to others."""
        self._turns.pop(connection, None)
        self._held.pop(connection, None)
        return self._next(now)

    def on_tick(self, now: float) -> list[Send]:
        """End turns that take too long; return what may be sent to others."""
        self._turns = {who: (digest, since) for who, (digest, since) in self._turns.items() if now - since < self._patience_s}
        return self._next(now)

    def _next(self, now: float) -> list[Send]:
        sends: list[Send] = []
        while self._held and len(self._turns) < self._at_once:
            connection = next(iter(self._held))
            held = self._held.pop(connection)
            (*_, last) = (send.message.digest for send in held if isinstance(send.message, Stage))
            self._turns[connection] = last, now
            sends += held
        return sends
