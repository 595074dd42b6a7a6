"""What became of a model's versions and which worker serves what, from the records of headrace.* alone: no client, no clock."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from headrace.contracts.events_pb2 import CheckpointPublished, RolloutDirective, WeightsApplied
from headrace.rollouts.agents import AgentLine, agent_lines
from headrace.rollouts.lines import VersionLine, WorkerLine
from headrace.rollouts.states import SWAPPING, VersionState, follow, meant_for, worker_state
from headrace.weights.errors import ManifestError
from headrace.weights.format.manifest import Manifest

SERVING = (WeightsApplied.ACTIVE, WeightsApplied.HEARTBEAT, WeightsApplied.JOINED)


@dataclass
class _Life:
    """What is known of one version."""

    model: str
    version: int
    digest: str = ""
    created_us: int = 0
    published_us: int = 0
    size: int = 0
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    activated_us: int = 0
    staged: dict[str, int] = field(default_factory=dict)
    served: dict[str, int] = field(default_factory=dict)
    moved: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Agent → the bytes that travelled to it, and of them those from other agents."""


class Versions:
    """Takes records in any order of topics, each topic in its own order; a record may come twice.

    Args:
        model: the only model to follow, and with a pipeline's champion its further models; None follows all.
    """

    def __init__(self, model: str | None = None) -> None:
        self._model = model
        self._lives: dict[tuple[str, int], _Life] = {}
        self._directives: dict[str, dict[int, RolloutDirective]] = {}
        self._heard: dict[tuple[str, str], WeightsApplied] = {}
        self._serving: dict[tuple[str, str], int] = {}
        self._errors: dict[tuple[str, str], str] = {}

    # What is told.

    def checkpoint(self, published: CheckpointPublished, at_us: int) -> None:
        """A checkpoint was appended to its topic at `at_us`; published again, the first time counts."""
        if not self._follows(published.model):
            return
        life = self._life(published.model, published.version)
        if life.published_us and life.digest == published.manifest_digest:
            return
        life.digest, life.created_us, life.published_us = published.manifest_digest, published.created_at_us, at_us
        life.step, life.metrics = published.step, dict(published.metrics)
        life.size = _size(published.manifest)

    def directive(self, directive: RolloutDirective) -> None:
        """The coordinator told the fleet something."""
        if not self._follows(directive.model):
            return
        if (
            directive.action == RolloutDirective.REFUSE
        ):  # an answer to an operator: nothing becomes of the version it names
            return
        self._directives.setdefault(directive.model, {})[directive.sequence] = directive
        life = self._life(directive.model, directive.version)
        life.digest = life.digest or directive.manifest_digest
        life.created_us = life.created_us or directive.checkpoint_created_at_us
        life.size = life.size or _size(directive.manifest)
        if directive.action in SWAPPING and not life.activated_us:
            life.activated_us = directive.issued_at_us

    def applied(self, applied: WeightsApplied) -> None:
        """An agent said what a worker did."""
        if not self._follows(applied.model):
            return
        key = applied.model, applied.worker
        self._heard[key] = applied
        if applied.state in SERVING:
            self._serving[key] = applied.version
        if applied.state == WeightsApplied.FAILED:
            self._errors[key] = applied.error
        elif applied.state == WeightsApplied.ACTIVE:
            self._errors.pop(key, None)
        if applied.state in {WeightsApplied.STAGED, WeightsApplied.ACTIVE}:
            life = self._life(*_version(applied))
            steps = life.staged if applied.state == WeightsApplied.STAGED else life.served
            steps.setdefault(applied.worker, applied.at_us)
            who = applied.agent or applied.worker
            life.moved[who] = max(life.moved.get(who, (0, 0)), (applied.bytes_pulled, applied.bytes_from_peers))

    # What follows.

    @property
    def models(self) -> list[str]:
        """Every model that was heard of."""
        return sorted({model for model, _ in self._lives} | {model for model, _ in self._heard})

    def active(self, model: str) -> RolloutDirective | None:
        """The newest directive that says what to serve."""
        said = self._directives.get(model, {})
        return next((said[s] for s in sorted(said, reverse=True) if said[s].action in SWAPPING), None)

    def canary(self, model: str) -> RolloutDirective | None:
        """The directive that gave a version to canaries, while they are the only ones to serve it."""
        said = self._directives.get(model, {})
        telling = (said[s] for s in sorted(said, reverse=True) if said[s].action in SWAPPING or said[s].canaries)
        newest = next(telling, None)
        return newest if newest is not None and newest.action == RolloutDirective.CANARY else None

    def workers(self, now_us: int) -> list[WorkerLine]:
        """Every worker that was heard of, by model and name."""
        return [self._worker(self._heard[key], now_us) for key in sorted(self._heard)]

    def agents(self, now_us: int) -> list[AgentLine]:
        """The agents that spoke for those workers, by model and name."""
        return agent_lines(self._heard.values(), now_us)

    def history(self, last: int) -> list[VersionLine]:
        """The `last` newest versions of each model, the newest first."""
        lines = []
        for model in self.models:
            newest = sorted((v for m, v in self._lives if m == model and v), reverse=True)[:last]
            states = self._states(model)
            lines += [self._line(self._lives[model, version], states[version]) for version in newest]
        return lines

    def _follows(self, model: str) -> bool:
        return self._model is None or model == self._model or model.startswith(f"{self._model}.")

    def _life(self, model: str, version: int) -> _Life:
        return self._lives.setdefault((model, version), _Life(model, version))

    def _worker(self, heard: WeightsApplied, now_us: int) -> WorkerLine:
        model, active = heard.model, self.active(heard.model)
        version = self._serving.get((model, heard.worker), 0)
        meant = meant_for(heard.worker, active, self.canary(model))
        behind = version != meant.version
        created = self._lives[model, version].created_us if version and (model, version) in self._lives else 0
        return WorkerLine(
            model=model,
            worker=heard.worker,
            role=heard.role,
            host=heard.host,
            version=version,
            active=active.version if active else 0,
            state=worker_state(heard, version, meant, now_us),
            age_s=max(0, now_us - created) / 1e6 if created else None,
            heard_s=max(0, now_us - heard.at_us) / 1e6,
            error=heard.error or (self._errors.get((model, heard.worker), "") if heard.fenced or behind else ""),
            fenced=heard.fenced,
            agent=heard.agent,
            meant=meant.version,
            canary=meant.canary,
        )

    def _states(self, model: str) -> dict[int, VersionState]:
        said = [directive for _, directive in sorted(self._directives.get(model, {}).items())]
        states = follow(said, [version for m, version in self._lives if m == model])
        active = self.active(model)
        serves, pinned = (active.version, active.pinned) if active else (0, False)
        return {v: self._settled(model, v, state, serves, pinned=pinned) for v, state in states.items()}

    def _settled(self, model: str, version: int, state: VersionState, serves: int, *, pinned: bool) -> VersionState:
        """A version that no directive names was skipped, unless its turn may still come, or compaction forgot its turn."""
        if state.state != "published" or not serves:
            return state
        if version > serves:
            return VersionState("waiting", "the model is pinned" if pinned else "")
        return (
            VersionState("served")
            if self._life(model, version).served
            else VersionState("skipped", "a newer one came first")
        )

    def _line(self, life: _Life, state: VersionState) -> VersionLine:
        activated = life.activated_us or min(life.served.values(), default=0)
        return VersionLine(
            model=life.model,
            version=life.version,
            checkpoint=life.digest,
            state=state.state,
            published_us=life.published_us or life.created_us,
            activated_us=activated,
            activate_ms=_activate_ms(life, activated),
            workers=len(life.served),
            size=life.size,
            step=life.step,
            metrics=life.metrics,
            reason=state.reason,
            cause=state.cause,
            pulled=max((pulled for pulled, _ in life.moved.values()), default=None),
            from_stores=sum(pulled - peers for pulled, peers in life.moved.values()),
            from_peers=sum(peers for _, peers in life.moved.values()),
        )


def _version(applied: WeightsApplied) -> tuple[str, int]:
    return applied.model, applied.version


def _size(manifest: bytes) -> int:
    """The payload's bytes; 0 of a manifest that is none, which agents refuse: its version is shown all the same."""
    try:
        return Manifest.decode(manifest).size
    except ManifestError:
        return 0


def _activate_ms(life: _Life, activated_us: int) -> float | None:
    if not life.published_us or not activated_us:
        return None
    waited_for: Iterable[int] = [
        at for w, at in life.served.items() if life.staged.get(w, activated_us + 1) <= activated_us
    ]
    end = max(waited_for, default=min(life.served.values(), default=activated_us))
    return round((end - life.published_us) / 1000, 1)
