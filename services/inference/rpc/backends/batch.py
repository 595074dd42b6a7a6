"""Executes requests to a version together: arrays joined, one call of the backend, outputs cut apart."""

import itertools
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from headrace.runtime.secrets import clean
from services.inference.oip.messages import InferAnswer, ModelFailed, OipError, Unavailable
from services.inference.rpc.backends.arrays import Array, ArrayOutput, dtype_of
from services.inference.rpc.backends.port import Backend, Columns, Signature, TensorInfo
from services.inference.rpc.batching.jobs import Job, Outcome
from services.inference.rpc.statistics import Execution


class Shapes(NamedTuple):
    """What requests have in common that can be executed together: an input's name, and its shape without the batch."""

    tensors: tuple[tuple[str, tuple[int, ...]], ...]


class ArrayExecutor:
    """Executes batches, in any thread.

    Args:
        signature: the model's tensors.
        version, checkpoint: what answers say that they are of.
        backend: computes them.
    """

    def __init__(self, signature: Signature, version: int, checkpoint: str, backend: Backend) -> None:
        self._signature, self._version, self._checkpoint, self._backend = signature, version, checkpoint, backend

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Answer each request. Raises nothing."""
        outcomes: dict[int, Outcome] = {}
        wanted = sorted((i for i, job in enumerate(jobs) if not job.cancelled), key=lambda i: _shapes(jobs[i]))
        for _, group in itertools.groupby(wanted, key=lambda i: _shapes(jobs[i])):
            these = list(group)
            outcomes |= zip(these, self._attempt([jobs[i] for i in these]), strict=True)
        nobody = Unavailable("the request was cancelled")
        return [outcomes.get(i, nobody) for i in range(len(jobs))]

    def _attempt(self, jobs: list[Job]) -> list[Outcome]:
        """All together; where that fails, halves of them, until those that fail do so alone."""
        try:
            return self._together(jobs)
        except Unavailable as error:
            return [error] * len(jobs)
        except OipError as error:
            if len(jobs) == 1:
                return [error]
        except Exception as error:  # noqa: BLE001 - the model is a file's: whatever it raises is its requests' error
            if len(jobs) == 1:
                said = (str(error).strip().splitlines() or [""])[-1]
                return [ModelFailed(clean(f"version {self._version} raised {type(error).__name__}: {said}"))]
        half = len(jobs) // 2
        return [*self._attempt(jobs[:half]), *self._attempt(jobs[half:])]

    def _together(self, jobs: list[Job]) -> list[Outcome]:
        started = time.perf_counter_ns()
        columns = _joined([job.table.parts[0] for job in jobs])
        rows = sum(job.table.rows for job in jobs)
        prepared = time.perf_counter_ns()
        found = self._backend.run(columns)
        computed = time.perf_counter_ns()
        whole = {info.name: self._checked(found, info, rows) for info in self._signature.outputs}
        answers, start = list[Outcome](), 0
        for job in jobs:
            answers.append(self._answer(job, whole, start, len(jobs) > 1))
            start += job.table.rows
        ended = time.perf_counter_ns()
        execution = Execution(started, prepared - started, computed - prepared, ended - computed, rows)
        for job in jobs:
            job.execution = execution
        return answers

    def _checked(self, found: Columns, info: TensorInfo, rows: int) -> Array:
        array = found.get(info.name)
        if array is None:
            raise ModelFailed(f"version {self._version} gave no output '{info.name}'")
        if array.dtype != dtype_of(info.datatype):
            raise ModelFailed(f"output '{info.name}' is {array.dtype}, and {info.datatype} in the configuration")
        shape = array.shape[1:] if self._signature.batched else array.shape
        fits = len(shape) == len(info.dims) and all(w in (-1, s) for w, s in zip(info.dims, shape, strict=True))
        if not fits or (self._signature.batched and array.shape[0] != rows):
            wanted = [rows, *info.dims] if self._signature.batched else list(info.dims)
            raise ModelFailed(f"output '{info.name}' has the shape {list(array.shape)}, expected {wanted}")
        return array

    def _answer(self, job: Job, whole: Columns, start: int, cut: bool) -> InferAnswer:  # noqa: FBT001
        end = start + job.table.rows
        names = job.outputs or tuple(whole)
        kinds = {info.name: info.datatype for info in self._signature.outputs}
        outputs = [ArrayOutput(n, kinds[n], whole[n][start:end] if cut else whole[n]) for n in names]
        return InferAnswer(self._signature.name, self._version, self._checkpoint, list(outputs), job.id)


def _shapes(job: Job) -> Shapes:
    columns: Columns = job.table.parts[0]
    return Shapes(tuple((name, array.shape[1:]) for name, array in columns.items()))


def _joined(requests: Sequence[Columns]) -> Columns:
    if len(requests) == 1:
        return requests[0]
    return {name: np.concatenate([columns[name] for columns in requests]) for name in requests[0]}
