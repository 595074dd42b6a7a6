"""One model's rollout as its directives tell it. Only this module applies directives and compares their order."""

from collections.abc import Iterable

from headrace.contracts.events_pb2 import Refusal, RolloutDirective
from headrace.rollouts.directives import CANARY, RETIRE, SERVES, STAGE, Position, position_of


class RolloutView:
    """One model's rollout, as of the newest directive applied.

    A directive is applied only if it is newer than every one before (see `Position`): a record that is read twice
    changes nothing, and neither does what a fenced coordinator wrote late. Readers that began with the compacted topic
    and readers that saw every directive have the same view, except that the former may not know `previous`.

    Attributes:
        model: the model's name; directives of others are ignored.
        position: of the newest directive; (0, 0) before the first.
        active: the directive that says what the fleet serves.
        previous: the directive that said so before, about another version; None if it was not read.
        canary: the directive that gave a version to canaries, while only they are to serve it.
        staged: the directive that named the version which workers make ready, while no worker is to serve it yet.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.position = Position(0, 0)
        self.active: RolloutDirective | None = None
        self.previous: RolloutDirective | None = None
        self.canary: RolloutDirective | None = None
        self.staged: RolloutDirective | None = None
        self._refused: dict[str, Refusal] = {}
        self._refusals_listed = False

    def apply(self, directive: RolloutDirective) -> bool:
        """Apply a directive; False if it was ignored, as another model's, a duplicate or an older one."""
        if directive.model != self.model or position_of(directive) <= self.position:
            return False
        self.position = position_of(directive)
        self._apply_refusals(directive)
        if directive.action in SERVES:
            if directive.manifest_digest != self.active_digest:
                self.previous = self.active
            self.active, self.canary, self.staged = directive, None, None
        elif directive.action == CANARY:
            self.canary, self.staged = directive, None
        elif directive.action == STAGE:
            self.staged = directive
        elif directive.action == RETIRE:
            self._retire(directive.manifest_digest)
        return True  # a REFUSE answers an operator and changes nothing

    def _retire(self, digest: str) -> None:
        if self.canary is not None and self.canary.manifest_digest == digest:
            self.canary = None
        if self.staged is not None and self.staged.manifest_digest == digest:
            self.staged = None

    def _apply_refusals(self, directive: RolloutDirective) -> None:
        if directive.HasField("refusals"):
            self._refused = {refusal.manifest_digest: refusal for refusal in directive.refusals.refused}
            self._refusals_listed = True
        elif directive.action == RETIRE and not self._refusals_listed:
            # An early release's directives list no refusals: all that is left of them is what was retired.
            digest = directive.manifest_digest
            self._refused[digest] = Refusal(version=directive.version, manifest_digest=digest)

    @property
    def active_version(self) -> int:
        """The version that the fleet serves; 0 for none."""
        return self.active.version if self.active is not None else 0

    @property
    def active_digest(self) -> str:
        """The manifest digest of the version that the fleet serves; "" for none."""
        return self.active.manifest_digest if self.active is not None else ""

    @property
    def previous_version(self) -> int:
        """The version that was active before the active one; 0 for none. Known from the active directive alone."""
        return self.active.previous_version if self.active is not None else 0

    @property
    def pinned(self) -> bool:
        """Whether newer versions wait until an operator resumes."""
        return self.active is not None and self.active.pinned

    @property
    def prepared(self) -> RolloutDirective | None:
        """The version that every worker should hold ready beside what it serves: what is staged, else the canaries'."""
        return self.staged if self.staged is not None else self.canary

    @property
    def refused(self) -> dict[str, Refusal]:
        """The versions that are not to be served again unless an operator orders it, by manifest digest."""
        return dict(self._refused)

    def is_canary(self, worker: str) -> bool:
        """Whether a worker is to serve another version than the fleet, as one of its canaries."""
        return self.canary is not None and worker in self.canary.canaries

    def meant_for(self, worker: str) -> RolloutDirective | None:
        """The directive that names what a worker is to serve; None while there is nothing to serve."""
        return self.canary if self.is_canary(worker) else self.active


def views_of(directives: Iterable[RolloutDirective]) -> dict[str, RolloutView]:
    """The view of each model that directives name, in whatever order they are given."""
    views: dict[str, RolloutView] = {}
    for directive in sorted(directives, key=position_of):
        views.setdefault(directive.model, RolloutView(directive.model)).apply(directive)
    return views
