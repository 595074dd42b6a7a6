"""A pipeline's own model with its canaries and shadows beside it, on requests as on the stream.

- A request is one canary's if the key of its first event is, by the same hash as on the stream; the answer's model,
  version and checkpoint say who gave it. What a canary cannot answer, the pipeline's own model answers.
- A shadow gets a copy of each request that was admitted, and what it answers is dropped. Copies wait in the shadow's
  own queue and are executed in its own threads; beyond its queue they are refused, which its statistics count.
- A request that names a version is the pipeline's own model's, and is not copied.
"""

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from services.inference.oip.kinds import TensorSpec
from services.inference.oip.layout import Table
from services.inference.oip.messages import InferRequest, ModelFailed, OipError, Unavailable
from services.inference.oip.plain_json import PlainJson
from services.inference.routing import Router
from services.inference.rpc.batching.jobs import Job, Outcome
from services.inference.rpc.served import Deliver, Repeats
from services.inference.rpc.service import DataPlane
from services.inference.rpc.statistics import Statistics

_SHADOWED = "shadowed"  # whose copies are, to a shadow's queue


class Traffic:
    """See the module, and `services.inference.rpc.served.Served`.

    Args:
        champion: the pipeline's own model.
        canaries: models with the part of the keys that each answers.
        shadows: models that get copies.
    """

    def __init__(
        self,
        champion: DataPlane,
        canaries: Sequence[tuple[DataPlane, tuple[float, float]]] = (),
        shadows: Sequence[DataPlane] = (),
    ) -> None:
        self._champion, self._shadows = champion, shadows
        self._canaries = [canary for canary, _ in canaries]
        self._router = Router([part for _, part in canaries])
        self._moved: dict[Job, tuple[DataPlane, Job]] = {}
        self.name: str = champion.name
        self.required: bool = champion.required
        self.statistics: Statistics = champion.statistics
        self.inputs: list[TensorSpec] = champion.inputs
        self.json_outputs: frozenset[str] = champion.json_outputs
        self.plain_json: PlainJson | None = champion.plain_json
        self.order = champion.order
        self.model_ready, self.index = champion.model_ready, champion.index
        self.metadata, self.config = champion.metadata, champion.config
        self.model_statistics = champion.model_statistics

    @property
    def repeats(self) -> Repeats:
        """See `Served`."""
        return self

    @property
    def loaded(self) -> bool:
        """See `Served`."""
        return self._champion.loaded

    @property
    def available(self) -> bool:
        """See `Served`."""
        return self._champion.available

    @property
    def reason(self) -> str:
        """See `Served`."""
        return self._champion.reason

    async def load(self, parameters: Mapping[str, Any]) -> None:
        """See `Served`; the further models are loaded by their own names."""
        await self._champion.load(parameters)

    async def unload(self) -> None:
        """See `Served`; the further models are unloaded by their own names."""
        await self._champion.unload()

    async def start(self) -> None:
        """See `Served`."""
        await self._champion.start()

    async def stop(self) -> None:
        """See `Served`."""
        await self._champion.stop()

    def submit(self, request: InferRequest, deliver: Deliver, peer: str = "") -> Job:
        """See `Served`."""
        if request.version:
            return self._champion.submit(request, deliver, peer)
        return self.resubmit(request, self._champion.admitted(request), deliver, request.id, peer)

    def resubmit(self, request: InferRequest, table: Table, deliver: Deliver, identifier: str, peer: str) -> Job:
        """See `Repeats`."""
        if request.version:
            return self._champion.resubmit(request, table, deliver, identifier, peer)
        job = self._to_canary(request, table, deliver, identifier, peer)
        if job is None:
            job = self._champion.resubmit(request, table, deliver, identifier, peer)
        for shadow in self._shadows:
            with contextlib.suppress(OipError):  # counted by its statistics
                shadow.resubmit(InferRequest(shadow.name, "", []), table, _dropped, "", _SHADOWED)
        return job

    def cancel(self, job: Job) -> None:
        """See `Served`."""
        plane, current = self._moved.pop(job, (self._champion, job))
        plane.cancel(current)

    def _to_canary(
        self, request: InferRequest, table: Table, deliver: Deliver, identifier: str, peer: str
    ) -> Job | None:
        """The job at the canary whose key it is; None where it is none's, or that one refuses it."""
        canary = self._canary(table)
        if canary is None or not canary.available:
            return None
        job: Job | None = None

        def answered(outcome: Outcome) -> None:
            if job is not None and _at_fault(job, outcome):
                try:
                    again = self._champion.resubmit(request, table, delivered, identifier, peer)
                except OipError as error:
                    outcome = error
                else:
                    self._moved[job] = self._champion, again
                    return
            delivered(outcome)

        def delivered(outcome: Outcome) -> None:
            if job is not None:
                self._moved.pop(job, None)
            deliver(outcome)

        try:
            job = canary.resubmit(request, table, answered, identifier, peer)
        except OipError:
            return None
        self._moved[job] = canary, job
        return job

    def _canary(self, table: Table) -> DataPlane | None:
        if not self._canaries or not table.rows:
            return None
        try:
            key = self._champion.first_key(table)
        except OipError:  # whoever executes it says what is wrong
            return None
        found = zip(self._canaries, self._router.route([key]), strict=True)
        return next((canary for canary, keys in found if keys), None)


def _at_fault(job: Job, outcome: Outcome) -> bool:
    """Whether the model, and not the request or its time, is why there is no answer."""
    if not isinstance(outcome, ModelFailed | Unavailable):
        return False
    return not job.timeout_us or time.perf_counter_ns() - job.arrived < job.timeout_us * 1000


def _dropped(_: Outcome) -> None:
    """Nobody waits for it."""
