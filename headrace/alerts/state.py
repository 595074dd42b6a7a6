"""Which alerts are on, and which of them are silenced: from the records of headrace.alerts and headrace.silences."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from headrace.contracts.events_pb2 import Alert, Silence

KEPT = 1000
"""Alerts that have ended and are kept, the last ones."""


class Silences:
    """The silences in force, by their id. The newest record of an id counts; one that has ended is no silence."""

    def __init__(self) -> None:
        self._known: dict[str, Silence] = {}

    def apply(self, silence: Silence) -> None:
        """Take a record."""
        self._known[silence.id] = silence

    def forget(self, identity: str) -> None:
        """Take a tombstone."""
        self._known.pop(identity, None)

    def get(self, identity: str, now_us: int) -> Silence | None:
        """The silence of that id, if it is in force."""
        return next((silence for silence in self.active(now_us) if silence.id == identity), None)

    def active(self, now_us: int) -> list[Silence]:
        """Those in force, the one that ends first at the beginning."""
        return sorted((s for s in self._known.values() if s.until_us > now_us), key=lambda s: (s.until_us, s.id))

    def until(self, alert: str, now_us: int) -> int:
        """Until when an alert, by its id, is silenced, in µs since the epoch; 0 if it is not."""
        return max((s.until_us for s in self._known.values() if s.until_us > now_us and matches(s, alert)), default=0)


def matches(silence: Silence, alert: str) -> bool:
    """Whether a silence is about an alert: `match` is an id, in which * stands for anything."""
    return fnmatchcase(alert, silence.match)


class AlertStates:
    """The newest record of every alert, of every role."""

    def __init__(self, models: Iterable[str] = ()) -> None:
        self._models = frozenset(models)
        self._known: dict[str, Alert] = {}

    def apply(self, alert: Alert) -> None:
        """Take a record; of a model that is none of ours it is skipped."""
        if self._models and alert.model not in self._models:
            return
        before = self._known.pop(alert.id, None)  # so that the newest stand last
        if before is not None and not alert.since_us:  # a record of an earlier release has no since
            alert.since_us = before.since_us or before.at_us
        self._known[alert.id] = alert
        ended = [identity for identity, one in self._known.items() if not one.firing]
        for identity in ended[:-KEPT]:
            del self._known[identity]

    def alerts(self, *, on: bool = True, model: str = "", name: str = "") -> list[Alert]:
        """The alerts that are on, or all known ones, oldest record first."""
        return [
            alert for alert in self._known.values()
            if (alert.firing or not on) and model in ("", alert.model) and name in ("", alert.name)
        ]  # fmt: skip

    def get(self, identity: str) -> Alert | None:
        """The newest record of an alert."""
        return self._known.get(identity)


def as_plain(alert: Alert, silenced_until_us: int = 0) -> dict[str, Any]:
    """An alert as JSON has it."""
    return {
        "id": alert.id, "model": alert.model, "name": alert.name, "subject": alert.subject or _subject(alert),
        "severity": Alert.Severity.Name(alert.severity), "message": alert.message, "value": alert.value,
        "threshold": alert.threshold, "version": alert.version, "firing": alert.firing,
        "since_us": alert.since_us or alert.at_us, "at_us": alert.at_us, "source": alert.source or "monitor",
        "silenced": bool(silenced_until_us), "silenced_until_us": silenced_until_us,
    }  # fmt: skip


def _subject(alert: Alert) -> str:
    """Of a record that does not say it: what follows the model and the name in its id."""
    head = f"{alert.model}/{alert.name}/"
    return alert.id.removeprefix(head) if alert.id.startswith(head) else ""


def silence_as_plain(silence: Silence) -> dict[str, Any]:
    """A silence as JSON has it."""
    return {
        "id": silence.id, "match": silence.match, "until_us": silence.until_us, "reason": silence.reason,
        "by": silence.created_by, "at_us": silence.at_us,
    }  # fmt: skip
