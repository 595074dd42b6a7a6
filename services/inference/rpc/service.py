"""The role `rpc`: predictions on request. Every transport calls this one data plane, which knows none of them.

A request is bound to the version that is live when it is admitted, keeps it however long it takes, and its answer names
it.
"""

import re
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from headrace.model.port import Model
from headrace.weights.errors import NotReady
from headrace.weights.worker.source import Bound, WeightsSource
from services.inference.oip import describe
from services.inference.oip.events import EventSchema
from services.inference.oip.kinds import TensorSpec
from services.inference.oip.messages import (
    InferAnswer,
    InferRequest,
    InvalidRequest,
    NotFound,
    OipError,
    Unavailable,
)
from services.inference.oip.predictions import PredictionSchema
from services.inference.rpc.batcher import Batcher
from services.inference.rpc.statistics import Phases, Statistics

_VERSION = re.compile(r"-?[0-9]{1,18}")


class Observer(Protocol):
    """Is told of every request to predict. Times are ns."""

    def succeeded(self, total_ns: int, phases: Phases, events: int) -> None:
        """A request of `events` events was answered."""
        ...

    def failed(self, total_ns: int) -> None:
        """A request was answered with an error."""
        ...


class DataPlane:
    """One model, served.

    Args:
        name: the model's name on the protocol.
        model: features and predictions.
        weights: where the live version comes from.
        batcher: executes requests.
        max_batch: events in one request at most.
        observers: told of every request, beside the protocol's own statistics.
        threads: how many requests execute at once, for the model's configuration.
    """

    def __init__(
        self,
        name: str,
        model: Model[Any, Any],
        weights: WeightsSource,
        batcher: Batcher,
        *,
        max_batch: int,
        observers: Sequence[Observer] = (),
        threads: int = 1,
    ) -> None:
        self.name = name
        self.statistics = Statistics()
        self._weights = weights
        self._batcher = batcher
        self._events = EventSchema(name, model.event_type())
        self._predictions = PredictionSchema(name, model.prediction_type())
        self._max_batch = max_batch
        self._observers = (self.statistics, *observers)
        self._loaded = True
        self._config = describe.model_config(name, max_batch, self.inputs, self._predictions.outputs, threads)

    @property
    def inputs(self) -> list[TensorSpec]:
        """The tensors that a request has, in order."""
        return self._events.inputs

    # Health.

    @property
    def ready(self) -> bool:
        """Whether a version is live, and it is the one that the fleet is to serve. Requests are answered all the same."""
        return not self._reason

    def model_ready(self, name: str, version: str = "") -> bool:
        """Whether requests to this model and version are answered; False for an unknown one.

        Raises:
            InvalidRequest: the version is no integer.
        """
        try:
            self._check(name, version, self._weights.version)
        except NotFound:
            return False
        return self.ready

    @property
    def _reason(self) -> str:
        """Why this server is not ready."""
        return self._weights.behind if self._weights.version else "no version of the weights is live yet"

    # What is served.

    def metadata(self, name: str, version: str = "") -> dict[str, Any]:
        """A ModelMetadataResponse.

        Raises:
            NotFound, InvalidRequest: no such model or version.
        """
        live = self._weights.version
        self._check(name, version, live)
        return describe.model_metadata(self.name, live, self.inputs, self._predictions.outputs)

    def config(self, name: str, version: str = "") -> dict[str, Any]:
        """A ModelConfig; errors as `metadata`."""
        self._check(name, version, self._weights.version)
        return self._config

    def model_statistics(self, name: str = "", version: str = "") -> list[dict[str, Any]]:
        """A ModelStatistics of each model, or of the one named; errors as `metadata`."""
        live = self._weights.version
        if name or version:
            self._check(name or self.name, version, live)
        return [self.statistics.as_dict(self.name, live)] if self._loaded else []

    def index(self, *, ready_only: bool = False) -> list[dict[str, Any]]:
        """A ModelIndex of each model."""
        reason = self._reason if self._loaded else "unloaded"
        return [] if reason and ready_only else [describe.index_entry(self.name, self._weights.version, reason)]

    def load(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Serve the model again after `unload`. Its weights are the fleet's: a load changes none.

        Raises:
            InvalidRequest: there is no such model, or another configuration is asked for.
        """
        if name != self.name:
            raise InvalidRequest(f"failed to load '{name}', this server serves '{self.name}' alone")
        if parameters:
            raise InvalidRequest(
                f"failed to load '{name}', its configuration comes from its pipeline and cannot be overridden"
            )
        self._loaded = True

    def unload(self, name: str) -> None:
        """Answer no more requests to the model, until `load`. An unknown one is as good as unloaded."""
        if name == self.name:
            self._loaded = False

    # Predicting.

    async def infer(self, request: InferRequest) -> InferAnswer:
        """Predict.

        Raises:
            OipError: what was wrong, with the status codes to answer with.
        """
        started = time.perf_counter_ns()
        try:
            answer, phases = await self._admit(request)
        except OipError:
            for observer in self._observers:
                observer.failed(time.perf_counter_ns() - started)
            raise
        total, events = time.perf_counter_ns() - started, answer.outputs[0].shape[0]
        for observer in self._observers:
            observer.succeeded(total, phases, events)
        return answer

    async def _admit(self, request: InferRequest) -> tuple[InferAnswer, Phases]:
        self._check(request.model, "", 0)
        try:
            with self._weights.lease() as bound:
                return await self._predict(request, bound)
        except NotReady as error:
            raise Unavailable(str(error)) from error

    async def _predict(self, request: InferRequest, bound: Bound) -> tuple[InferAnswer, Phases]:
        self._check(request.model, request.version, bound.version)
        self._predictions.check_names(request.outputs)
        self._check_batch(request)
        executed = await self._batcher.execute(partial(self._events.events, request.inputs), bound)
        outputs = self._predictions.tensors(executed.predictions, request.outputs)
        return InferAnswer(self.name, bound.version, bound.checkpoint, outputs, request.id), executed.phases

    def _check_batch(self, request: InferRequest) -> None:
        shape = request.inputs[0].shape if request.inputs else ()
        if shape and shape[0] > self._max_batch:
            raise InvalidRequest(
                f"inference request batch-size must be <= {self._max_batch} for '{self.name}', got {shape[0]}"
            )

    def _check(self, name: str, version: str, live: int) -> None:
        if name != self.name:
            raise NotFound(f"Request for unknown model: '{name}' is not found")
        if not self._loaded:
            raise NotFound(f"Request for unknown model: '{name}' has no available versions")
        if not version:
            return
        if not _VERSION.fullmatch(version):
            raise InvalidRequest(
                f"failed to get model version from specified version string '{version}': not an integer"
            )
        if int(version) != live:
            raise NotFound(f"Request for unknown model: '{name}' version {version} is not found")
