"""The one place that every prediction on request goes through: between requests and the network.

`DirectBatcher` executes each request by itself. One that puts several requests into one execution has the same face: it
would make the events of each, join them, and cut the predictions apart.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from headrace.model.port import Model
from headrace.runtime.secrets import clean
from headrace.weights.worker.source import Bound
from services.inference.oip.messages import ModelFailed
from services.inference.rpc.statistics import Phases

MakeEvents = Callable[[], list[Any]]


@dataclass(frozen=True, slots=True)
class Executed:
    """The predictions of N events, and where the time went."""

    predictions: Sequence[Any]
    phases: Phases


class Batcher(Protocol):
    """Executes requests."""

    async def execute(self, make_events: MakeEvents, bound: Bound) -> Executed:
        """Predict for the events that `make_events` makes, with exactly the weights of `bound`, off the event loop.

        Raises:
            OipError: what `make_events` raised, or `ModelFailed`.
        """
        ...

    def close(self) -> None:
        """Finish what is in hand; take no more."""
        ...


class DirectBatcher:
    """Every request is an execution of its own, in a worker thread, so that the event loop stays free to answer health checks.

    Args:
        model: features and predictions.
        threads: requests that execute at once.
        remember: is shown the features of what was served, to warm up later versions on.
    """

    def __init__(
        self, model: Model[Any, Any], threads: int = 1, remember: Callable[[torch.Tensor], None] | None = None
    ) -> None:
        self._model = model
        self._remember = remember
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="predict")

    async def execute(self, make_events: MakeEvents, bound: Bound) -> Executed:
        """See `Batcher.execute`."""
        execution = self._pool.submit(self._execute, make_events, bound, time.perf_counter_ns())
        try:
            return await asyncio.wrap_future(execution)
        except asyncio.CancelledError:
            if not execution.done():  # the caller is gone, but its lease must outlive the use of the network
                await asyncio.wait([asyncio.wrap_future(execution)])
            raise

    def close(self) -> None:
        """See `Batcher.close`."""
        self._pool.shutdown()

    def _execute(self, make_events: MakeEvents, bound: Bound, submitted: int) -> Executed:
        started = time.perf_counter_ns()
        events = make_events()
        try:
            with torch.inference_mode():
                features = self._model.features(events)
                prepared = time.perf_counter_ns()
                outputs = bound.network(features)
                predicted = time.perf_counter_ns()
                predictions = self._model.predictions(outputs)
        except Exception as error:  # the model is the author's code: whatever it raises is this request's error alone
            raise ModelFailed(clean(f"version {bound.version} raised {type(error).__name__}: {error}")) from error
        if len(predictions) != len(events):
            raise ModelFailed(f"version {bound.version} made {len(predictions)} predictions of {len(events)} events")
        ended = time.perf_counter_ns()
        if self._remember is not None:
            self._remember(features)
        return Executed(
            predictions, Phases(started - submitted, prepared - started, predicted - prepared, ended - predicted)
        )
