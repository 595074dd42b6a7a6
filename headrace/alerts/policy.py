"""What a pipeline changes of the definitions: severities, and which alerts it does without."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from headrace.alerts.definitions import DEFINITIONS, SEVERITIES, Definition, Severity, definition


@dataclass(frozen=True)
class Policy:
    """Severities by name, and the names that are off."""

    severities: Mapping[str, Severity] = field(default_factory=dict)
    off: frozenset[str] = frozenset()

    def severity(self, name: str) -> Severity:
        """An alert's severity."""
        return self.severities.get(name) or definition(name).severity

    def enabled(self, name: str) -> bool:
        """Whether an alert is raised at all."""
        return name not in self.off

    def definitions(self) -> tuple[Definition, ...]:
        """The alerts that are not off, with the pipeline's severities."""
        return tuple(replace(d, severity=self.severity(d.name)) for d in DEFINITIONS if self.enabled(d.name))


def at_least(severity: str, least: str) -> bool:
    """Whether a severity is `least` or worse; an unknown one is the lowest."""
    rank: dict[str, int] = {name: i for i, name in enumerate(SEVERITIES)}
    return rank.get(severity, -1) >= rank.get(least, 0)
