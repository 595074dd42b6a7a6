"""One model whose weights are the fleet's, or a file's: predictions on request, for whatever transport.

A request is executed with others that wait, all with the version that is live then, and its answer names it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch

from headrace.model.port import Model
from headrace.weights.worker.source import VersionedWeights
from services.inference.oip import describe
from services.inference.oip.events import EventSchema
from services.inference.oip.layout import Table
from services.inference.oip.messages import (
    InferAnswer,
    InferRequest,
    InvalidRequest,
    NotFound,
    OipError,
    Unavailable,
)
from services.inference.oip.plain_json import PlainJson
from services.inference.oip.predictions import PredictionSchema
from services.inference.oip.tables import Tables
from services.inference.rpc import timing
from services.inference.rpc.batching.batcher import Batcher, BatchLimits
from services.inference.rpc.batching.execution import Executor
from services.inference.rpc.batching.jobs import Job, Outcome
from services.inference.rpc.cache.responses import Cache, CachedAnswers
from services.inference.rpc.parameters import Priorities, timeout_of
from services.inference.rpc.served import Repeats, infer
from services.inference.rpc.statistics import Statistics
from services.inference.rpc.versions import Versions

NO_VERSION = "no version of the weights is live yet"

_LIMITS, _PRIORITIES = BatchLimits(), Priorities()


class DataPlane:
    """See `services.inference.rpc.served.Served`.

    Args:
        name: the model's name on the protocol.
        model: features and predictions.
        weights: where the live version comes from.
        limits: how requests are put together.
        max_batch: events in one request at most.
        priorities: which priorities requests may have.
        remember: is shown the features of what was served, to warm up later versions on.
        cache: keeps answers; None executes every request.
        required: whether the server is ready only while this model is.
        device: where the network computes, for the model's configuration.
        labels: versions by what requests may call them, beside what the fleet does.
    """

    def __init__(
        self,
        name: str,
        model: Model[Any, Any],
        weights: VersionedWeights,
        limits: BatchLimits = _LIMITS,
        *,
        max_batch: int = 4096,
        priorities: Priorities = _PRIORITIES,
        remember: Callable[[torch.Tensor], None] | None = None,
        cache: Cache | None = None,
        required: bool = True,
        device: str = "cpu",
        labels: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.name, self.required = name, required
        self.statistics = Statistics()
        self._submit = self._execute if cache is None else CachedAnswers(cache, weights, self.statistics, self._execute)
        self._weights, self._versions = weights, Versions(name, weights, labels)
        self._events = EventSchema(name, model.event_type())
        self._predictions = PredictionSchema(name, model.prediction_type())
        self._tables = Tables(name, self._events)
        self.inputs = self._events.inputs
        """The tensors that a request has, in order."""
        self.json_outputs = frozenset(spec.name for spec in self._predictions.outputs if spec.kind.json)
        self.plain_json: PlainJson | None = PlainJson(self.inputs, self._events.nullable)
        executor = Executor(name, model, weights, self._tables, self._predictions, remember=remember)
        self._batcher = Batcher(executor.run, limits)
        self._key = model.key
        self._max_batch, self._priorities = max_batch, priorities
        self._loaded = True
        self._config = describe.model_config(
            name,
            max_batch,
            self.inputs,
            self._predictions.outputs,
            limits.threads,
            batching=describe.dynamic_batching(limits.max_delay_us, priorities.levels, priorities.default),
            device=device,
            version_policy=weights.policy.as_config(),
        )

    # Health.

    @property
    def repeats(self) -> Repeats:
        """See `Served`."""
        return self

    @property
    def loaded(self) -> bool:
        """See `Served`."""
        return self._loaded

    @property
    def available(self) -> bool:
        """Whether a version is live."""
        return self._weights.version > 0

    @property
    def reason(self) -> str:
        """Why it is not ready: a version is to be live, to be the one that the fleet is to serve, and to answer."""
        return (self._weights.behind if self._weights.version else NO_VERSION) or self._batcher.stuck

    def model_ready(self, version: str = "") -> bool:
        """See `Served`."""
        try:
            self._named(version)
        except NotFound:
            return False
        return not self.reason

    # What is served.

    def metadata(self, version: str = "") -> dict[str, Any]:
        """See `Served`."""
        self._named(version)
        return describe.model_metadata(self.name, self._weights.versions, self.inputs, self._predictions.outputs)

    def config(self, version: str = "") -> dict[str, Any]:
        """See `Served`."""
        self._named(version)
        labels = {"version_labels": {"string_value": self._versions.labels_as_text()}}
        return {**self._config, "parameters": {**self._config["parameters"], **labels}}

    def model_statistics(self, version: str = "") -> list[dict[str, Any]]:
        """See `Served`; all versions are counted together."""
        if version:
            self._named(version)
        return [self.statistics.as_dict(self.name, self._weights.version)] if self._loaded else []

    def index(self) -> list[dict[str, Any]]:
        """See `Served`."""
        live, reason = self._weights.version, self.reason if self._loaded else "unloaded"
        others = self._batcher.stuck if self._loaded else reason
        versions = self._weights.versions or [0]
        return [describe.index_entry(self.name, one, reason if one == live else others) for one in versions]

    async def load(self, parameters: Mapping[str, Any]) -> None:
        """See `Served`. Its weights are the fleet's: a load changes none."""
        if parameters:
            raise InvalidRequest(
                f"failed to load '{self.name}', its configuration comes from its pipeline and cannot be overridden"
            )
        self._loaded = True

    async def unload(self) -> None:
        """See `Served`. It goes on following the fleet."""
        self._loaded = False

    # Predicting.

    async def infer(self, request: InferRequest, peer: str = "") -> InferAnswer:
        """See `services.inference.rpc.served.infer`."""
        return await infer(self, request, peer)

    def submit(self, request: InferRequest, deliver: Callable[[Outcome], None], peer: str = "") -> Job:
        """Have a request answered: `deliver` gets the answer or the error, once, on the event loop's thread, later.

        Raises:
            OipError: the request is refused; then `deliver` is not called.
        """
        arrived = time.perf_counter_ns()
        try:
            table = self.admit(request)
            job = self._job(request, table, peer, arrived)
            return self._submit(job, deliver)
        except OipError:
            self.statistics.failed(time.perf_counter_ns() - arrived)
            raise

    def admit(self, request: InferRequest) -> Table:
        """A request's columns, after all checks that need no execution.

        Raises:
            OipError: it is refused.
        """
        self._named(request.version)
        if not self._weights.version:
            raise Unavailable(NO_VERSION)
        self._predictions.check_names(request.outputs)
        self._check_batch(request)
        return request.table if request.table is not None else self._tables.table(request.inputs)

    def admitted(self, request: InferRequest) -> Table:
        """As `admit`, and a refusal is counted."""
        arrived = time.perf_counter_ns()
        try:
            return self.admit(request)
        except OipError:
            self.statistics.failed(time.perf_counter_ns() - arrived)
            raise

    def first_key(self, table: Table) -> str:
        """The key of a table's first event, as text. A table has at least one.

        Raises:
            InvalidRequest: an element of that event is not a value of its field.
        """
        parts = [part[: len(part) // table.rows] for part in table.parts]
        return str(getattr(self._tables.events([Table(1, table.layout, parts)])[0], self._key))

    def order(self, names: Sequence[str]) -> list[int]:
        """In which order inputs of these names stand in a table."""
        return self._tables.order(names)

    def resubmit(
        self, request: InferRequest, table: Table, deliver: Callable[[Outcome], None], identifier: str, peer: str
    ) -> Job:
        """Have a table answered whose request was like `request`, which `admit` admitted once, but for its data and id.

        Raises:
            OipError: as `submit`.
        """
        arrived = time.perf_counter_ns()
        try:
            if not self._loaded:
                self._named(request.version)
            job = self._job(request, table, peer, arrived)
            job.id = identifier
            return self._submit(job, deliver)
        except OipError:
            self.statistics.failed(time.perf_counter_ns() - arrived)
            raise

    @property
    def waiting(self) -> int:
        """Events that wait to be executed."""
        return self._batcher.waiting

    def cancel(self, job: Job) -> None:
        """Nobody wants the answer any more."""
        self._batcher.cancel(job)
        self.statistics.failed(time.perf_counter_ns() - job.arrived)

    async def start(self) -> None:
        """See `Served`."""
        self._weights.start()

    async def stop(self) -> None:
        """See `Served`."""
        self.close()
        await asyncio.to_thread(self._weights.stop)

    def close(self) -> None:
        """Refuse what waits; finish what is in hand, unless it takes too long."""
        self._batcher.close()

    def _job(self, request: InferRequest, table: Table, peer: str, arrived: int) -> Job:
        priority, timeout_us, timed = self._priorities.default, 0, False
        if request.parameters:
            priority, timeout_us = self._priorities.of(request.parameters), timeout_of(request.parameters)
            timed = timing.timing_wanted(request.parameters)
        return Job(
            table,
            _nobody,
            self._named(request.version) if request.version else 0,
            tuple(request.outputs),
            request.id,
            peer,
            priority,
            timeout_us,
            arrived,
            places=request.places,
            timing=timed,
        )

    def _execute(
        self, job: Job, deliver: Callable[[Outcome], None], keep: Callable[[Outcome], None] | None = None
    ) -> Job:
        def counted(outcome: Outcome) -> None:
            if keep is not None:
                keep(outcome)
            outcome = job.deposited(outcome)
            now, execution = time.perf_counter_ns(), job.execution
            if execution is None or isinstance(outcome, OipError):
                self.statistics.failed(now - job.arrived)
            else:
                queue = execution.started - job.arrived
                self.statistics.succeeded(now - job.arrived, queue, execution, job.table.rows)
                if job.timing:
                    outcome.parameters = timing.executed(now - job.arrived, queue, execution)
            deliver(outcome)

        job.deliver = counted
        self._batcher.submit(job)
        return job

    def _check_batch(self, request: InferRequest) -> None:
        shape = request.inputs[0].shape if request.inputs else ()
        rows = request.table.rows if request.table is not None else shape[0] if shape else 0
        if rows > self._max_batch:
            raise InvalidRequest(
                f"inference request batch-size must be <= {self._max_batch} for '{self.name}', got {rows}"
            )

    def _named(self, version: str) -> int:
        """The version that a request names; 0 for the live one, whichever that is when the request is executed."""
        if not self._loaded:
            raise NotFound(f"Request for unknown model: '{self.name}' has no available versions")
        return self._versions.named(version)


def _nobody(_: Outcome) -> None:
    """Before a request is submitted."""
