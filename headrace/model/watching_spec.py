"""The sections `drift` and `alerts` of pipeline.yaml: what counts as drift, and who is told of which alerts."""

from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from headrace.alerts.definitions import NAMES, SEVERITIES
from headrace.alerts.policy import Policy
from headrace.drift.limits import Limits
from headrace.model.section import Section

Severity = Literal["info", "warning", "critical"]


class ReferenceSpec(Section):
    """What the stream is compared with: its first events, or a file that `headrace drift reference` has written."""

    events: int = Field(20_000, ge=2000, description="of a reference window: the first events, and those after a reset")
    file: str | None = Field(
        None,
        description="one that `headrace drift reference` wrote of a data set; relative to the pipeline's folder",
    )


class WatchSpec(Section):
    """Drift of inputs, predictions and errors; volume and latency."""

    ignore: tuple[str, ...] = Field((), description="fields of the event that are not watched; the key never is")
    categories: tuple[str, ...] = Field((), description="numeric fields that are codes")
    reference: ReferenceSpec = ReferenceSpec()
    windows: tuple[int, int] = Field((1000, 10_000), description="events of the short and of the long window")
    psi: tuple[float, float] = Field((0.2, 0.1), description="least PSI that is drift, of the short and long window")
    ks: tuple[float, float] = Field((0.12, 0.08), description="least Kolmogorov-Smirnov distance that is drift")
    rate: float = Field(
        0.02, gt=0, lt=1, description="by how much the share of missing, out-of-range or unseen values has to rise"
    )
    score: float = Field(0.5, gt=0, description="standard deviations by which the mean prediction has to move")
    error_ratio: float = Field(1.5, gt=1, description="recent error / usual error from which it is drift")
    error_examples: int = Field(2000, ge=100, description="labelled predictions whose mean error is the usual one")
    adopt: int | None = Field(
        200_000, ge=1000, description="events of drift after which what is now is what is usual; null: never"
    )
    events_per_false_alarm: float = Field(
        1e8, ge=1e4, description="events for each false alarm that all columns together may raise by chance"
    )
    interval_s: float = Field(10.0, gt=0, description="seconds of an interval of volume and latency")
    volume: float = Field(3.0, gt=1, description="factor of the usual volume that is an anomaly")
    latency: float = Field(3.0, gt=1, description="factor of the usual latency that is an anomaly ...")
    latency_floor_s: float = Field(0.25, ge=0, description="... and the seconds below which none is")
    labels_per_s: int = Field(
        2000, ge=1, description="labelled predictions a second whose error is followed; of more, a share by key"
    )

    @field_validator("windows")
    @classmethod
    def _of_blocks(cls, windows: tuple[int, int]) -> tuple[int, int]:
        if windows[0] % 500 or windows[1] % 500 or not 500 <= windows[0] <= windows[1]:
            raise PydanticCustomError("windows", "two multiples of 500, the shorter one first, e.g. [1000, 10000]")
        return windows

    @model_validator(mode="after")
    def _of_windows(self) -> "WatchSpec":
        if self.reference.events < 4 * self.windows[0]:
            raise PydanticCustomError(
                "reference", "reference.events must be four short windows at least, so that they can be compared"
            )
        return self

    @property
    def limits(self) -> Limits:
        """As the detectors take them."""
        return Limits(
            reference=self.reference.events, windows=self.windows, psi=self.psi, ks=self.ks, rate=self.rate,
            adopt=self.adopt, events_per_false_alarm=self.events_per_false_alarm,
        )  # fmt: skip


class RuleSpec(Section):
    """What differs from an alert's definition."""

    severity: Severity | None = None
    enabled: bool = True


class WebhookSpec(Section):
    """An address that alerts are posted to."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,48}$")
    url: str = Field("", description="http:// or https://")
    url_env: str = Field("", description="the environment variable that holds the address, where it is a secret")
    secret_env: str = Field("", description="the environment variable that holds the key of the signature")
    severity: Severity = Field("warning", description="alerts of this severity or worse")
    timeout_s: float = Field(5.0, gt=0, le=60)
    retry_s: float = Field(600.0, ge=0, description="seconds after which alerts that it does not take are given up")

    @model_validator(mode="after")
    def _one_address(self) -> "WebhookSpec":
        if bool(self.url) == bool(self.url_env):
            raise PydanticCustomError("url", "a webhook has either `url` or `url_env`")
        if self.url and not self.url.startswith(("http://", "https://")):
            raise PydanticCustomError("url", "a webhook's url begins with http:// or https://")
        return self


class AlertsSpec(Section):
    """Which alerts there are, and who is told."""

    rules: dict[str, RuleSpec] = Field(default_factory=dict, description="by the alert's name (docs/alerts.md)")
    webhooks: tuple[WebhookSpec, ...] = ()

    @field_validator("rules")
    @classmethod
    def _known(cls, rules: dict[str, RuleSpec]) -> dict[str, RuleSpec]:
        if unknown := [name for name in rules if name not in NAMES]:
            raise PydanticCustomError(
                "rules", "no alert {name}; there are {known}", {"name": unknown[0], "known": ", ".join(NAMES)}
            )
        return rules

    @field_validator("webhooks")
    @classmethod
    def _distinct(cls, webhooks: tuple[WebhookSpec, ...]) -> tuple[WebhookSpec, ...]:
        if len({hook.name for hook in webhooks}) < len(webhooks):
            raise PydanticCustomError("webhooks", "two webhooks have the same name")
        return webhooks

    @property
    def policy(self) -> Policy:
        """As those who raise alerts take it."""
        severities = {n: severity_name(rule.severity) for n, rule in self.rules.items() if rule.severity is not None}
        return Policy(severities, frozenset(name for name, rule in self.rules.items() if not rule.enabled))


def severity_name(severity: Severity) -> Literal["INFO", "WARNING", "CRITICAL"]:
    """As alerts have it."""
    return SEVERITIES[("info", "warning", "critical").index(severity)]
