"""When one version was published, staged and served, and how many bytes of it travelled."""

from dataclasses import dataclass, field

from headrace.contracts.events_pb2 import CheckpointPublished, CheckpointRefused, RolloutDirective, WeightsApplied
from headrace.rollouts.directives import SERVES
from headrace.rollouts.reports import STAGED
from headrace.weights.errors import ManifestError
from headrace.weights.format.manifest import Manifest


@dataclass
class VersionTimeline:
    """One version. Times are in µs since the epoch, 0 where nothing was read of it.

    Attributes:
        refused: why its trainer did not publish it; "" if it did.
        staged: when each worker first had it ready.
        served: when each worker first served it.
        moved: of each agent, the bytes that travelled to it, and how many of them came from other agents.
    """

    digest: str = ""
    created_us: int = 0
    published_us: int = 0
    activated_us: int = 0
    size: int = 0
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    refused: str = ""
    staged: dict[str, int] = field(default_factory=dict)
    served: dict[str, int] = field(default_factory=dict)
    moved: dict[str, tuple[int, int]] = field(default_factory=dict)

    def on_checkpoint(self, published: CheckpointPublished, at_us: int) -> None:
        """Take note of its publication at ``at_us``; published again, the first time counts."""
        if self.published_us and self.digest == published.manifest_digest:
            return
        self.digest, self.created_us, self.published_us = published.manifest_digest, published.created_at_us, at_us
        self.step, self.metrics = published.step, dict(published.metrics)
        self.size = _size(published.manifest)

    def on_refusal(self, refused: CheckpointRefused) -> None:
        """Take note that its trainer did not publish it."""
        self.created_us, self.step, self.metrics = refused.created_at_us, refused.step, dict(refused.values)
        self.refused = f"{refused.gate}: {refused.reason}"

    def on_directive(self, directive: RolloutDirective) -> None:
        """Take note of a directive that names it."""
        self.digest = self.digest or directive.manifest_digest
        self.created_us = self.created_us or directive.checkpoint_created_at_us
        self.size = self.size or _size(directive.manifest)
        if directive.action in SERVES and not self.activated_us:
            self.activated_us = directive.issued_at_us

    def on_report(self, report: WeightsApplied) -> None:
        """Take note of a worker's report that it has the version ready (STAGED), or serves it (ACTIVE)."""
        steps = self.staged if report.state == STAGED else self.served
        steps.setdefault(report.worker, report.at_us)
        agent = report.agent or report.worker
        self.moved[agent] = max(self.moved.get(agent, (0, 0)), (report.bytes_pulled, report.bytes_from_peers))

    @property
    def first_active_us(self) -> int:
        """When the fleet was told to serve it; when a worker first did where that directive was compacted away."""
        return self.activated_us or min(self.served.values(), default=0)

    @property
    def activate_ms(self) -> float | None:
        """From its publication until every worker that had it ready served it; None where either is not known."""
        active_us = self.first_active_us
        if not self.published_us or not active_us:
            return None
        ready = [at for worker, at in self.served.items() if self.staged.get(worker, active_us + 1) <= active_us]
        end = max(ready, default=min(self.served.values(), default=active_us))
        return round((end - self.published_us) / 1000, 1)


def _size(manifest: bytes) -> int:
    """The payload's bytes; 0 if the manifest cannot be read: agents refuse the version, but it is listed."""
    try:
        return Manifest.decode(manifest).size
    except ManifestError:
        return 0
