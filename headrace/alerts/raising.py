"""Raising alerts: one record when one starts, one when it stops, however often its cause is seen meanwhile."""

from collections.abc import Iterable
from dataclasses import dataclass

from headrace.alerts.definitions import Source
from headrace.alerts.policy import Policy
from headrace.contracts.events_pb2 import Alert


@dataclass(frozen=True)
class Finding:
    """What a detector has found: an alert of that name should be on (`firing`), or off.

    `model` is the model's name in the fleet. A finding without a `subject` is about the model as a whole.
    """

    model: str
    name: str
    firing: bool
    message: str
    subject: str = ""
    value: float = 0.0
    threshold: float = 0.0
    version: int = 0


def alert_id(model: str, name: str, subject: str = "") -> str:
    """What an alert is known by: it is on or off, never on twice."""
    return "/".join(part for part in (model, name, subject) if part)


class Raising:
    """The alerts that one role has on. It knows no clock and no topic."""

    def __init__(self, source: Source, policy: Policy) -> None:
        self._source, self._policy = source, policy
        self._on: dict[str, Alert] = {}

    @property
    def on(self) -> tuple[Alert, ...]:
        """The alerts that are on, in the order in which they started."""
        return tuple(self._on.values())

    def take(self, finding: Finding, now_us: int) -> Alert | None:
        """The record to write, if the finding changes anything."""
        identity = alert_id(finding.model, finding.name, finding.subject)
        before = self._on.get(identity)
        if finding.firing == (before is not None) or not (before or self._policy.enabled(finding.name)):
            return None
        alert = Alert(
            id=identity, model=finding.model, name=finding.name, message=finding.message, value=finding.value,
            threshold=finding.threshold, version=finding.version, firing=finding.firing, at_us=now_us,
            severity=Alert.Severity.Value(self._policy.severity(finding.name)), subject=finding.subject,
            source=self._source, since_us=before.since_us if before else now_us,
        )  # fmt: skip
        if finding.firing:
            self._on[identity] = alert
        else:
            del self._on[identity]
        return alert

    def state(self) -> list[bytes]:
        """What `restore` goes on from."""
        return [alert.SerializeToString() for alert in self._on.values()]

    def restore(self, state: Iterable[bytes]) -> None:
        """Go on from a state."""
        alerts = (Alert.FromString(data) for data in state)
        self._on = {alert.id: alert for alert in alerts}
