"""The page's log-in: a cookie that stands for a credential, in the memory of one gateway.

The cookie is a random name that no script can read (HttpOnly) and no other site's request carries (SameSite=Strict).
Whatever changes something must also carry the session's CSRF token in a header, which another site cannot know. Each
request checks the credential again, so that a revoked key ends its sessions. A gateway that is started again asks for
the key again.
"""

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from headrace.runtime.access.errors import Forbidden, Unauthenticated

LASTS_S = 12 * 3600.0
_MOST = 1000


@dataclass(frozen=True)
class Session:
    """One log-in."""

    id: str
    csrf: str
    credential: str
    until: float


class Sessions:
    """The sessions. Used by one event loop."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._sessions: dict[str, Session] = {}

    def open(self, credential: str) -> Session:
        """A new session for a credential that was checked; the oldest goes where there are too many."""
        now = self._clock()
        self._sessions = {name: one for name, one in self._sessions.items() if one.until > now}
        while len(self._sessions) >= _MOST:
            del self._sessions[next(iter(self._sessions))]
        made = Session(secrets.token_urlsafe(32), secrets.token_urlsafe(32), credential, now + LASTS_S)
        self._sessions[made.id] = made
        return made

    def find(self, session: str) -> Session:
        """A session that is still open.

        Raises:
            Unauthenticated: there is none.
        """
        found = self._sessions.get(session)
        if found is None or found.until <= self._clock():
            raise Unauthenticated("the session is over: log in again")
        return found

    def credential(self, session: str, csrf: str | None) -> str:
        """The credential that a session stands for; `csrf` is None where nothing is changed.

        Raises:
            Unauthenticated: there is no such session.
            Forbidden: the CSRF token is not the session's.
        """
        found = self.find(session)
        if csrf is not None and not hmac.compare_digest(csrf.encode(), found.csrf.encode()):
            raise Forbidden("the CSRF token is missing or wrong")
        return found.credential

    def close(self, session: str) -> None:
        """End a session."""
        self._sessions.pop(session, None)
