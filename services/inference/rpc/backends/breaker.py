"""A circuit breaker: after some failures in a row calls fail at once, until one that is let through succeeds."""

import threading
import time
from collections.abc import Callable


class Breaker:
    """For calls from any thread.

    Args:
        failures: in a row, until it opens.
        reset_s: seconds for which it is open; then one call at a time is let through, to try.
        clock: seconds.
    """

    def __init__(self, failures: int, reset_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._reset_s, self._clock = failures, reset_s, clock
        self._lock = threading.Lock()
        self._failures = 0
        self._until = 0.0
        self._trying = False

    @property
    def open(self) -> bool:
        """Whether no call may be made now."""
        with self._lock:
            return self._failures >= self._most and self._clock() < self._until

    def admit(self) -> bool:
        """Whether a call may be made; then `succeeded`, `failed` or `released` follows."""
        with self._lock:
            if self._failures < self._most:
                return True
            if self._clock() < self._until or self._trying:
                return False
            self._trying = True
            return True

    def succeeded(self) -> None:
        """The call was answered: it closes."""
        with self._lock:
            self._failures, self._trying = 0, False

    def failed(self) -> None:
        """The call was not answered."""
        with self._lock:
            self._failures += 1
            self._trying = False
            if self._failures >= self._most:
                self._until = self._clock() + self._reset_s

    def released(self) -> None:
        """The call says nothing about whoever is called."""
        with self._lock:
            self._trying = False
