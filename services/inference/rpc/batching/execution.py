"""Executes requests together: columns joined, one forward pass of one version, predictions cut apart."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from headrace.model.exact_rows import forward
from headrace.model.port import Model
from headrace.runtime.secrets import clean
from headrace.weights.errors import NotKept, NotReady
from headrace.weights.worker.source import Bound, VersionedWeights
from services.inference.oip.messages import InferAnswer, ModelFailed, NotFound, OipError, OutputTensor, Unavailable
from services.inference.oip.predictions import PredictionSchema
from services.inference.oip.tables import Tables
from services.inference.rpc.batching.jobs import Job, Outcome
from services.inference.rpc.statistics import Execution

_NOBODY = Unavailable("the request was cancelled")


class Executor:
    """Executes batches, in any thread.

    Args:
        name: the model's name.
        model: features and predictions.
        weights: where the live version comes from.
        tables, predictions: what makes events of requests and tensors of predictions.
        remember: is shown the features of what was served, to warm up later versions on.
    """

    def __init__(
        self,
        name: str,
        model: Model[Any, Any],
        weights: VersionedWeights,
        tables: Tables,
        predictions: PredictionSchema,
        *,
        remember: Callable[[torch.Tensor], None] | None = None,
    ) -> None:
        self._name, self._model, self._weights = name, model, weights
        self._tables, self._predictions, self._remember = tables, predictions, remember

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Answer each request; those that name no version, with the weights of one version. Raises nothing."""
        try:
            with self._weights.lease() as bound:
                live = {0, bound.version}
                these = [job for job in jobs if job.version in live and not job.cancelled]
                outcomes = dict(zip(these, self._attempt(these, bound), strict=True)) if these else {}
        except NotReady as error:
            return [Unavailable(str(error))] * len(jobs)
        if len(outcomes) < len(jobs):
            for version in {job.version for job in jobs} - live:
                outcomes |= self._earlier(version, [job for job in jobs if job.version == version])
        return [outcomes.get(job, _NOBODY) for job in jobs]

    def _earlier(self, version: int, jobs: Sequence[Job]) -> dict[Job, Outcome]:
        """Answer requests that name a version which is not the live one, with that one."""
        these = [job for job in jobs if not job.cancelled]
        try:
            with self._weights.lease_of(version) as bound:
                return dict(zip(these, self._attempt(these, bound), strict=True)) if these else {}
        except NotKept:
            gone = NotFound(
                f"Request for unknown model: '{self._name}' version {version} is not found: it has just left"
            )
            return dict.fromkeys(these, gone)

    def _attempt(self, jobs: list[Job], bound: Bound) -> list[Outcome]:
        """All together; where that fails, halves of them, until those that fail do so alone."""
        try:
            return self._together(jobs, bound)
        except OipError as error:
            if len(jobs) == 1:
                return [error]
        except Exception as error:  # noqa: BLE001 - what an event's own code may raise, beside what it is expected to
            if len(jobs) == 1:
                return [ModelFailed(clean(f"{type(error).__name__}: {error}"))]
        half = len(jobs) // 2
        return [*self._attempt(jobs[:half], bound), *self._attempt(jobs[half:], bound)]

    def _together(self, jobs: list[Job], bound: Bound) -> list[Outcome]:
        started = time.perf_counter_ns()
        events = self._tables.events([job.table for job in jobs])
        predictions, features, prepared, predicted = self._predict(events, bound)
        whole = {tensor.name: tensor for tensor in self._predictions.tensors(predictions, ())}
        for tensor in whole.values():
            tensor.raw()
        answers: list[Outcome] = [self._answer(job, bound, part) for job, part in _parts(jobs, whole)]
        ended = time.perf_counter_ns()
        execution = Execution(started, prepared - started, predicted - prepared, ended - predicted, len(events))
        for job in jobs:
            job.execution = execution
        if self._remember is not None:
            self._remember(features)
        return answers

    def _predict(self, events: list[Any], bound: Bound) -> tuple[Sequence[Any], torch.Tensor, int, int]:
        try:
            with torch.inference_mode():
                features = self._model.features(events)
                prepared = time.perf_counter_ns()
                outputs = forward(bound.network, features)
                predicted = time.perf_counter_ns()
                predictions = self._model.predictions(outputs)
        except Exception as error:  # the model is the author's code: whatever it raises is this request's error alone
            raise ModelFailed(clean(f"version {bound.version} raised {type(error).__name__}: {error}")) from error
        if len(predictions) != len(events):
            raise ModelFailed(f"version {bound.version} made {len(predictions)} predictions of {len(events)} events")
        return predictions, features, prepared, predicted

    def _answer(self, job: Job, bound: Bound, parts: dict[str, OutputTensor]) -> InferAnswer:
        outputs = [parts[name] for name in job.outputs] if job.outputs else list(parts.values())
        return InferAnswer(self._name, bound.version, bound.checkpoint, outputs, job.id)


def _parts(jobs: list[Job], whole: dict[str, OutputTensor]) -> list[tuple[Job, dict[str, OutputTensor]]]:
    """Each request with its rows of the outputs."""
    if len(jobs) == 1:
        return [(jobs[0], whole)]
    parts, start = [], 0
    for job in jobs:
        end = start + job.table.rows
        parts.append((job, {name: tensor.rows(start, end) for name, tensor in whole.items()}))
        start = end
    return parts
