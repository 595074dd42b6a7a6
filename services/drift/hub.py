"""All of a pipeline's alerts, whichever role raised them, and the silences: followed by a thread of its own."""

import threading
import time
from collections.abc import Callable, Iterable

from headrace.alerts.log import AlertLog, new_silence, write_silence
from headrace.alerts.state import AlertStates, Silences, as_plain, silence_as_plain
from headrace.contracts.events_pb2 import Alert, Silence
from headrace.runtime.errors import HeadraceError
from headrace.runtime.lifecycle import Stop
from headrace.runtime.settings import ServiceSettings


class Hub:
    """Safe to use from several threads. `write` makes a silence durable, or its end (None)."""

    def __init__(
        self,
        settings: ServiceSettings,
        models: Iterable[str],
        write: Callable[[ServiceSettings, str, Silence | None], None] = write_silence,
    ) -> None:
        self._settings, self._write = settings, write
        self._lock = threading.Lock()
        self._states, self._silences = AlertStates(models), Silences()
        self._log: AlertLog | None = None

    def open(self) -> None:
        """Read both topics up to their ends.

        Raises:
            DependencyError: the broker does not answer.
        """
        self._log = AlertLog(self._settings, self._states, self._silences)
        self._log.read_all(60.0)

    def follow(self, stop: Stop) -> None:
        """Go on reading until `stop` is set. A broker that is away for a while is waited for."""
        assert self._log is not None
        try:
            while not stop.is_set():
                with self._lock:
                    self._log.poll(0.0)
                stop.wait(0.1)
        except HeadraceError as error:
            stop.set(f"alerts: {error.message}")
            raise
        finally:
            self._log.close()

    def alerts(self, *, on: bool = True, model: str = "", name: str = "") -> list[dict[str, object]]:
        """The alerts that are on, or all known ones, as JSON has them."""
        now = _now_us()
        with self._lock:
            return [
                as_plain(a, self._silences.until(a.id, now)) for a in self._states.alerts(on=on, model=model, name=name)
            ]

    def own(self, source: str) -> list[Alert]:
        """The alerts of a role that are on by the log."""
        with self._lock:
            return [alert for alert in self._states.alerts() if alert.source == source]

    def known(self, identity: str) -> bool:
        """Whether there is or was such an alert."""
        with self._lock:
            return self._states.get(identity) is not None

    def is_silenced(self, identity: str) -> bool:
        """Whether a silence is in force."""
        with self._lock:
            return bool(self._silences.until(identity, _now_us()))

    def silences(self) -> list[dict[str, object]]:
        """The silences in force."""
        with self._lock:
            return [silence_as_plain(silence) for silence in self._silences.active(_now_us())]

    def silence(self, match: str, for_s: float, reason: str, by: str) -> dict[str, object]:
        """Silence alerts; durable once this returns.

        Raises:
            DependencyError: it could not be written.
        """
        made = new_silence(match, for_s, reason, by)
        self._write(self._settings, made.id, made)
        with self._lock:
            self._silences.apply(made)
        return silence_as_plain(made)

    def end_silence(self, identity: str) -> bool:
        """End a silence; whether there was one.

        Raises:
            DependencyError: it could not be written.
        """
        with self._lock:
            found: Silence | None = self._silences.get(identity, _now_us())
        if found is None:
            return False
        self._write(self._settings, identity, None)
        with self._lock:
            self._silences.forget(identity)
        return True


def _now_us() -> int:
    return int(time.time() * 1e6)
