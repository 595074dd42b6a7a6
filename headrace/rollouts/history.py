"""What became of models' versions and which worker serves what, by the system topics' records: no client, no clock."""

from headrace.contracts.events_pb2 import CheckpointPublished, CheckpointRefused, RolloutDirective, WeightsApplied
from headrace.rollouts.agents import agent_statuses
from headrace.rollouts.directives import REFUSE
from headrace.rollouts.reports import ACTIVE, STAGED, ReportedWorker, WorkerReports
from headrace.rollouts.states import VersionState, version_states, worker_state
from headrace.rollouts.status import AgentStatus, RolloutTimeline, VersionStatus, WorkerStatus
from headrace.rollouts.timeline import VersionTimeline
from headrace.rollouts.view import RolloutView


class RolloutHistory:
    """Takes records in any order of topics, each topic in its own order; a record may come twice.

    Args:
        model: the only model to follow, and with a pipeline's champion its further models; None follows all.
    """

    def __init__(self, model: str | None = None) -> None:
        self._only = model
        self._models: dict[str, _ModelHistory] = {}

    # What is read.

    def on_checkpoint(self, published: CheckpointPublished, at_us: int) -> None:
        """A checkpoint was appended to its topic at `at_us`; published again, the first time counts."""
        if (model := self._model(published.model)) is not None:
            model.version(published.version).on_checkpoint(published, at_us)

    def on_refusal(self, refused: CheckpointRefused) -> None:
        """A gate kept a checkpoint from being published."""
        if (model := self._model(refused.model)) is not None:
            model.version(refused.version).on_refusal(refused)

    def on_directive(self, directive: RolloutDirective) -> None:
        """The coordinator issued a directive."""
        if (model := self._model(directive.model)) is not None:
            model.on_directive(directive)

    def on_report(self, report: WeightsApplied) -> None:
        """An agent reported what a worker did."""
        if (model := self._model(report.model)) is not None:
            model.on_report(report)

    # What follows.

    @property
    def models(self) -> list[str]:
        """Every model of which a version or a worker was heard of."""
        return sorted(name for name, model in self._models.items() if model.known)

    def view(self, model: str) -> RolloutView:
        """A model's rollout; of a model that was not heard of, one in which nothing is active."""
        return self._models[model].view if model in self._models else RolloutView(model)

    def workers(self, now_us: int) -> list[WorkerStatus]:
        """Every worker that was heard of, by model and name."""
        return [status for name in self.models for status in self._models[name].workers(now_us)]

    def agents(self, now_us: int) -> list[AgentStatus]:
        """Every agent of those workers, by model and name."""
        return [status for name in self.models for status in agent_statuses(self._models[name].reports, now_us)]

    def versions(self, last: int) -> list[VersionStatus]:
        """The `last` newest versions of each model, the newest first."""
        return [status for name in self.models for status in self._models[name].versions(last)]

    def timelines(self, model: str, last: int) -> list[RolloutTimeline]:
        """How each worker followed, for the `last` newest versions that reached a worker, the newest first."""
        return self._models[model].timelines(last) if model in self._models else []

    def _model(self, name: str) -> "_ModelHistory | None":
        if self._only is None or name == self._only or name.startswith(f"{self._only}."):
            return self._models.setdefault(name, _ModelHistory(name))
        return None


class _ModelHistory:
    """One model's part of it."""

    def __init__(self, model: str) -> None:
        self._name = model
        self.view = RolloutView(model)
        self.reports = WorkerReports()
        self._directives: list[RolloutDirective] = []
        self._versions: dict[int, VersionTimeline] = {}

    @property
    def known(self) -> bool:
        return bool(self._versions) or any(True for _ in self.reports)

    def version(self, number: int) -> VersionTimeline:
        return self._versions.setdefault(number, VersionTimeline())

    def on_directive(self, directive: RolloutDirective) -> None:
        if self.view.apply(directive) and directive.action != REFUSE:  # a REFUSE may name a version that never was
            self._directives.append(directive)
            self.version(directive.version).on_directive(directive)

    def on_report(self, report: WeightsApplied) -> None:
        self.reports.apply(report)
        if report.state in {STAGED, ACTIVE}:
            self.version(report.version).on_report(report)

    def workers(self, now_us: int) -> list[WorkerStatus]:
        return [self._worker(worker, now_us) for worker in self.reports]

    def _worker(self, worker: ReportedWorker, now_us: int) -> WorkerStatus:
        newest, meant = worker.newest, self.view.meant_for(worker.newest.worker)
        lags = newest.fenced or worker.version != (meant.version if meant is not None else 0)
        served = self._versions.get(worker.version) if worker.version else None
        return WorkerStatus(
            model=self._name,
            worker=newest.worker,
            role=newest.role,
            host=newest.host,
            version=worker.version,
            active=self.view.active_version,
            state=worker_state(worker, self.view, now_us),
            age_s=max(0, now_us - served.created_us) / 1e6 if served is not None and served.created_us else None,
            heard_s=max(0, now_us - newest.at_us) / 1e6,
            error=newest.error or (worker.error if lags else ""),
            fenced=newest.fenced,
            agent=newest.agent,
            meant=meant.version if meant is not None else 0,
            canary=self.view.is_canary(newest.worker),
        )

    def versions(self, last: int) -> list[VersionStatus]:
        states = version_states(self._directives, self._versions)
        newest = sorted(filter(None, self._versions), reverse=True)[:last]
        return [self._version(number, self._settled(number, states[number])) for number in newest]

    def timelines(self, last: int) -> list[RolloutTimeline]:
        told = [number for number, version in self._versions.items() if version.staged or version.served]
        return [self._timeline(number) for number in sorted(told, reverse=True)[:last]]

    def _timeline(self, number: int) -> RolloutTimeline:
        version = self._versions[number]
        return RolloutTimeline(
            model=self._name,
            version=number,
            published_us=version.published_us or version.created_us,
            activated_us=version.activated_us,
            staged=dict(version.staged),
            served=dict(version.served),
        )

    def _settled(self, number: int, state: VersionState) -> VersionState:
        """A version without a directive was skipped, unless its turn may come, or compaction took its directives."""
        active = self.view.active_version
        if refused := self._versions[number].refused:
            return VersionState("refused", refused)
        if state.state != "published" or not active:
            return state
        if number > active:
            return VersionState("waiting", "the model is pinned" if self.view.pinned else "")
        if self._versions[number].served:
            return VersionState("served")
        return VersionState("skipped", "a newer one came first")

    def _version(self, number: int, state: VersionState) -> VersionStatus:
        version = self._versions[number]
        moved = version.moved.values()
        return VersionStatus(
            model=self._name,
            version=number,
            checkpoint=version.digest,
            state=state.state,
            published_us=version.published_us or version.created_us,
            activated_us=version.first_active_us,
            activate_ms=version.activate_ms,
            workers=len(version.served),
            size=version.size,
            step=version.step,
            metrics=version.metrics,
            reason=state.reason,
            cause=state.cause,
            pulled=max((pulled for pulled, _ in moved), default=None),
            from_stores=sum(pulled - peers for pulled, peers in moved),
            from_peers=sum(peers for _, peers in moved),
        )
