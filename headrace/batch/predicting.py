"""A batch of rows to a batch of the output: features, one forward pass, predictions, columns.

Where the model raises, the batch is halved until the rows that it raises for are found: they are rejected by
themselves, as is a row whose prediction is NaN or infinite.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load_file

from headrace.batch.job import Plan, Rejected
from headrace.batch.predictions import PredictionColumns
from headrace.batch.reading.rows import Rows
from headrace.model.equal_rows import RowCheck
from headrace.model.exact_rows import choose_fixed_kernels, forward
from headrace.model.pipeline import Pipeline
from headrace.model.port import Model
from headrace.runtime.errors import PipelineError
from headrace.runtime.secrets import clean
from headrace.weights.worker.shadow import load_into

_COMPARED = 256


@dataclass(frozen=True)
class Predicted:
    """A batch of the output, and the rows that have no prediction, in order."""

    batch: pa.RecordBatch
    bad: list[Rejected]


def open_network(pipeline: Pipeline, file: str) -> torch.nn.Module:
    """The model's network over the weights in a file, which is mapped and not copied.

    Raises:
        IncompatibleWeights: they are not this network's.
    """
    choose_fixed_kernels()
    return load_into(pipeline.model.network(), load_file(Path(file)))


def takes_columns(model: Model[Any, Any]) -> bool:
    """Whether the model makes features of columns too."""
    return type(model).features_of_columns is not Model.features_of_columns


class Predictor:
    """Predicts with one network. `schema` is that of the carried columns."""

    def __init__(self, pipeline: Pipeline, plan: Plan, schema: pa.Schema) -> None:
        self._model: Model[Any, Any] = pipeline.model
        self._network = open_network(pipeline, plan.version.file)
        self._columns = PredictionColumns(self._model.prediction_type())
        self._check = RowCheck(plan.version.model, plan.job.batch_rows)
        self.schema = pa.schema([*schema, *self._columns.fields])

    def predict(self, rows: Rows) -> Predicted:
        """The rows with their predictions; those that have none are left out."""
        count = len(rows.numbers)
        failed: dict[int, tuple[str, str]] = {}
        with torch.inference_mode():
            predictions = self._some(rows, 0, count, failed) if count else []
        kept = [i for i in range(count) if i not in failed] if failed else None
        arrays = self._columns.arrays(predictions)
        for at, bad in self._columns.bad(predictions, arrays).items():
            failed[at if kept is None else kept[at]] = (bad.field, bad.problem)
        if kept is None and not failed:
            return Predicted(self._batch(rows.carried, arrays), rows.bad)
        return self._without(rows, predictions, kept or list(range(count)), failed)

    def _without(
        self, rows: Rows, predictions: Sequence[Any], kept: list[int], failed: Mapping[int, tuple[str, str]]
    ) -> Predicted:
        """The output without the rows that failed; `predictions` are those of the rows in `kept`."""
        good = [(i, prediction) for i, prediction in zip(kept, predictions, strict=True) if i not in failed]
        carried = rows.carried.take(pa.array([i for i, _ in good], pa.int64()))
        batch = self._batch(carried, self._columns.arrays([prediction for _, prediction in good]))
        rejected = [Rejected(rows.file, rows.numbers[i], *failed[i]) for i in failed]
        return Predicted(batch, sorted([*rows.bad, *rejected], key=lambda one: one.row))

    def _batch(self, carried: pa.RecordBatch, arrays: list[pa.Array]) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([*carried.columns, *arrays], schema=self.schema)

    def _some(self, rows: Rows, start: int, stop: int, failed: dict[int, tuple[str, str]]) -> list[Any]:
        """Predictions of rows [start, stop) but those that the model raises for, which go into `failed`."""
        try:
            features = self._features(rows, start, stop)
            predictions = list(self._model.predictions(forward(self._network, features)))
            self._check(self._network, features)
            if len(predictions) != stop - start:
                what = f"the model made {len(predictions)} predictions of {stop - start} events"
                raise PipelineError(what)  # noqa: TRY301 - of no single row, so it is not searched for
        except PipelineError:
            raise
        except Exception as error:  # noqa: BLE001 - the model is the author's code: whatever it raises is these rows'
            if stop - start == 1:
                failed[start] = ("", clean(f"the model raised {type(error).__name__}: {error}"))
                return []
            middle = (start + stop) // 2
            return [*self._some(rows, start, middle, failed), *self._some(rows, middle, stop, failed)]
        return predictions

    def _features(self, rows: Rows, start: int, stop: int) -> torch.Tensor:
        if rows.columns is None:
            return self._model.features((rows.events or ())[start:stop])
        whole = start == 0 and stop == len(rows.numbers)
        features = self._model.features_of_columns(rows.columns if whole else rows.columns.cut(start, stop))
        if features is None:
            raise PipelineError("features_of_columns returned None: it is not overridden where there is no such form")
        return features


def check_columns(pipeline: Pipeline, columns: Mapping[str, np.ndarray], events: Sequence[Any]) -> None:
    """Check on a few rows that both forms of the features are the same.

    Raises:
        PipelineError: they differ.
    """
    model: Model[Any, Any] = pipeline.model
    few = list(events[:_COMPARED])
    by_columns = model.features_of_columns({name: values[: len(few)] for name, values in columns.items()})
    by_events = model.features(few)
    if by_columns is None or by_columns.dtype != by_events.dtype or not torch.equal(by_columns, by_events):
        raise PipelineError(
            f"{type(model).__name__}: features_of_columns and features differ over the same {len(few)} rows",
            hint="the network was trained on what `features` makes: make both of one function",
        )
