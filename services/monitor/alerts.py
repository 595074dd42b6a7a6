"""The monitor's alerts. Each rule says when its alert starts and when it stops; headrace.alerts has their meaning.

A CRITICAL alert that names a version blames this version, and the coordinator rolls it back. A worker that fails is a
WARNING, since the worker may be at fault; the coordinator counts failures itself. An error above the baseline's is a
WARNING too, since several versions have part in the moving error.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.alerts.definitions import ERROR_ABOVE_BASELINE, WORKER_FAILED
from headrace.alerts.policy import Policy
from headrace.alerts.raising import alert_id
from headrace.contracts.events_pb2 import Alert
from headrace.contracts.snapshot import Firing, Worker
from services.monitor.regression import Fault


@dataclass(frozen=True)
class Errors:
    """The moving errors at one time, and how many labelled predictions there were by then."""

    joined: int
    model: float
    baseline: float
    baseline_name: str


class AboveBaseline:
    """Starts once the moving error was above the best baseline's for a whole window; stops when it is not above.

    The first window does not count: new weights have learned nothing yet.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._above_since: int | None = None

    def check(self, errors: Errors) -> bool:
        """Whether the alert is on."""
        if errors.joined < self._window or errors.model <= errors.baseline:
            self._above_since = None
            return False
        if self._above_since is None:
            self._above_since = errors.joined
        return errors.joined - self._above_since >= self._window


class Alarms:
    """The alerts of one model that are on; `check` returns those that started or stopped."""

    def __init__(
        self, model: str, window: int, unit: str, error_name: str = "error", policy: Policy | None = None
    ) -> None:
        self._model, self._unit, self._error_name = model, unit, error_name
        self._policy = policy or Policy()
        self._above = AboveBaseline(window)
        self._firing: dict[str, Alert] = {}

    @property
    def firing(self) -> tuple[Firing, ...]:
        """The alerts that are on."""
        alerts = self._firing.values()
        return tuple(Firing(a.name, Alert.Severity.Name(a.severity), a.message, a.at_us, a.model) for a in alerts)

    def check(
        self,
        now_us: int,
        errors: Errors | None,
        failed: tuple[Worker, ...],
        version: int,
        faults: Mapping[str, Fault] | None = None,
    ) -> list[Alert]:
        """The alerts that started or stopped since the last check. `faults` are by the alert's name."""
        alerts = [*self._on(now_us, errors, failed, version), *self._at_fault(now_us, faults or {})]
        on = {alert.id: alert for alert in alerts if self._policy.enabled(alert.name)}
        changes = [alert for name, alert in on.items() if name not in self._firing]
        for name in [name for name in self._firing if name not in on]:
            stopped = Alert()
            stopped.CopyFrom(self._firing.pop(name))
            stopped.firing, stopped.at_us = False, now_us
            changes.append(stopped)
        self._firing.update({alert.id: alert for alert in changes if alert.firing})
        return changes

    def _on(self, now_us: int, errors: Errors | None, failed: tuple[Worker, ...], version: int) -> list[Alert]:
        alerts = []
        if errors is not None and self._above.check(errors):
            unit = f" {self._unit}" if self._unit else ""
            beside = f"{errors.baseline_name} has {errors.baseline:.3g}{unit} on the same events"
            text = f"{self._error_name} {errors.model:.3g}{unit}, {beside}"
            alert = self._alert(ERROR_ABOVE_BASELINE, text, now_us)
            alert.value, alert.threshold, alert.version = errors.model, errors.baseline, version
            alerts.append(alert)
        for worker in failed:
            why = worker.error or "failed"
            text = f"{worker.worker} on {worker.host}: {why}; it goes on with version {worker.version}"
            alert = self._alert(WORKER_FAILED, text, now_us, worker.worker)
            alert.version = worker.version
            alerts.append(alert)
        return alerts

    def _at_fault(self, now_us: int, faults: Mapping[str, Fault]) -> list[Alert]:
        alerts = []
        for name, fault in faults.items():
            alert = self._alert(name, fault.message, now_us, str(fault.version))
            alert.value, alert.threshold, alert.version = fault.value, fault.threshold, fault.version
            alerts.append(alert)
        return alerts

    def _alert(self, name: str, text: str, now_us: int, what: str = "") -> Alert:
        return Alert(
            id=alert_id(self._model, name, what), model=self._model, name=name, message=text, firing=True, at_us=now_us,
            severity=Alert.Severity.Value(self._policy.severity(name)), subject=what, source="monitor",
            since_us=now_us,
        )  # fmt: skip
