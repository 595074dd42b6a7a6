"""Whether a worker serves what its fleet does.

It is told when it is behind, and finds out itself when it no longer is.
"""

import threading
from collections.abc import Callable

from headrace.runtime.logging import get_logger
from headrace.weights.worker.wire import Require

log = get_logger("headrace.weights")


class RequiredVersion:
    """What the agent requires of a worker, until it is met. Without a word from the agent a worker is not behind.

    Args:
        on_change: called with why the worker is behind, and with "" when it has caught up; it must be quick.
    """

    def __init__(self, on_change: Callable[[str], None] | None = None) -> None:
        self._on_change = on_change
        self._lock = threading.Lock()
        self._serving = ""
        self._required: Require | None = None

    @property
    def required(self) -> str:
        """The digest of the version that must serve first, or ""."""
        required = self._required
        return required.digest if required else ""

    @property
    def behind(self) -> str:
        """Why the worker is behind, or ""."""
        required = self._required
        return f"the fleet serves version {required.version}" if required else ""

    def require(self, order: Require) -> None:
        """The agent says what must serve before this worker is ready."""
        with self._lock:
            self._settle(order)

    def serves(self, digest: str) -> None:
        """A version serves from now on."""
        with self._lock:
            self._serving = digest
            self._settle(self._required)

    def _settle(self, required: Require | None) -> None:
        """Under the lock, callback included: two threads' news must not overtake each other."""
        before, after = self._required, None if required is None or required.digest == self._serving else required
        if before == after:
            return
        self._required = after
        log.info("behind" if after else "caught up", **({"requires": after.version} if after else {}))
        if self._on_change is not None:
            self._on_change(self.behind)
