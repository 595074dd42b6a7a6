"""The versions of one model that a host has to do with: what directives mean here, and what was pulled."""

from dataclasses import dataclass, field

from headrace.contracts.events_pb2 import RolloutDirective
from headrace.rollouts.directives import CANARY, SERVES, STAGE
from headrace.rollouts.view import RolloutView
from headrace.weights import Manifest, WeightsError, check_signature
from headrace.weights.format.manifest import Keys

_NAMING = SERVES | {STAGE, CANARY}


@dataclass
class Version:
    """A version that directives name.

    Attributes:
        model: the model's name.
        version: its number.
        digest: its manifest's digest.
        encoded: its manifest.
        manifest: its manifest, decoded; None if it was refused.
        refusal: why it was refused.
        sequence: the newest directive's that names it.
        seconds: how long each step to here took, by name.
        peers: the coordinator's plan for taking it from other agents.
        stage_by: when the coordinator stops waiting for workers to stage it, by this host's clock.
        path: the slot that holds it, "" until it was pulled.
        bytes_pulled: what travelled of it to this host.
        bytes_from_peers: how much of that came from other agents.
        failed_at: when it last could not be pulled.
        lost: it could not be pulled because the stores lack something of it, or have it damaged.
    """

    model: str
    version: int
    digest: str
    encoded: bytes
    manifest: Manifest | None
    refusal: str
    sequence: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    peers: RolloutDirective.Peers | None = None
    stage_by: float = float("inf")
    path: str = ""
    bytes_pulled: int = 0
    bytes_from_peers: int = 0
    failed_at: float = float("-inf")
    lost: bool = False


class ModelVersions:
    """One model's rollout on this host.

    Args:
        model: the model's name.
        signing_key: manifests must be signed with it; None accepts any.
    """

    def __init__(self, model: str, signing_key: Keys) -> None:
        self.model = model
        self._rollout = RolloutView(model)
        self._signing_key = signing_key
        self._versions: dict[str, Version] = {}
        self._served: list[str] = []  # the active one first
        self.keeps = 2
        """How many versions that served stay in shared memory, the active one among them."""
        self._peers: RolloutDirective.Peers | None = None  # the newest plan: agents that start later take part in it

    def apply(self, directive: RolloutDirective, now: float) -> bool:
        """Apply a directive; False if it was ignored as a duplicate, or as an older one."""
        if not self._rollout.apply(directive):
            return False
        if directive.action == STAGE:
            self._peers = directive.peers if directive.HasField("peers") else None
        if directive.action in _NAMING:
            version = self._versions.get(directive.manifest_digest) or self._read(directive, now)
            self._versions[version.digest] = version
            version.sequence = directive.sequence
            if directive.action == STAGE:
                version.peers = self._peers
                version.stage_by = now + (directive.stage_timeout_s or float("inf"))
        if directive.action in SERVES:
            digest = directive.manifest_digest
            self._served = [digest, *(other for other in self._served if other != digest)][: self.keeps]
        self._versions = {version.digest: version for version in self.named()}
        return True

    @property
    def labels(self) -> dict[str, str]:
        """Digests by what requests call their versions."""
        active, canary = self._rollout.active, self._rollout.canary
        named = {"stable": active, "canary": canary}
        return {label: directive.manifest_digest for label, directive in named.items() if directive is not None}

    def kept(self) -> list[Version]:
        """The versions that served, the active one first, as far as workers keep them."""
        found = (self._versions.get(digest) for digest in self._served[: self.keeps])
        return [version for version in found if version is not None]

    def _read(self, directive: RolloutDirective, now: float) -> Version:
        """The version that a directive names, with its manifest checked."""
        manifest, refusal = None, ""
        try:
            check_signature(directive.manifest, directive.signature, self._signing_key)
            manifest = Manifest.decode(directive.manifest)
            if manifest.digest != directive.manifest_digest:
                refusal = f"the manifest's digest is {manifest.digest}, the directive names {directive.manifest_digest}"
        except WeightsError as error:
            refusal = str(error)
        return Version(
            model=directive.model,
            version=directive.version,
            digest=directive.manifest_digest,
            encoded=directive.manifest,
            manifest=None if refusal else manifest,
            refusal=refusal,
            seconds={"announce": max(0.0, now - directive.issued_at_us / 1e6)},
            peers=self._peers,
        )

    @property
    def active(self) -> Version | None:
        """What the fleet serves."""
        return self._named_by(self._rollout.active)

    @property
    def staged(self) -> Version | None:
        """What is staged and no worker is to serve yet."""
        return self._named_by(self._rollout.staged)

    @property
    def prepared(self) -> Version | None:
        """What every worker should hold ready beside what it serves."""
        return self._named_by(self._rollout.prepared)

    def meant_for(self, worker: str) -> Version | None:
        """What a worker is to serve."""
        return self._named_by(self._rollout.meant_for(worker))

    def wanted(self) -> list[Version]:
        """What some worker is to serve now or next, in the order in which it is pulled."""
        rollout = self._rollout
        return self._all_named_by(rollout.active, rollout.canary, rollout.staged)

    def named(self) -> list[Version]:
        """What must stay in shared memory: also the version before the active one, and those that workers keep."""
        return [*self.wanted(), *self._all_named_by(self._rollout.previous), *self.kept()]

    def _named_by(self, directive: RolloutDirective | None) -> Version | None:
        return self._versions.get(directive.manifest_digest) if directive is not None else None

    def _all_named_by(self, *directives: RolloutDirective | None) -> list[Version]:
        versions = (self._named_by(directive) for directive in directives)
        return [version for version in versions if version is not None]
