"""The model's predictions to v2 tensors: one output, or one a field where predictions are structs."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import inspect

from headrace.model.values import number_problem
from services.inference.oip.kinds import Kind, TensorSpec, kind_of
from services.inference.oip.messages import InvalidRequest, ModelFailed, OutputTensor

OUTPUT = "prediction"
"""Name of the output where a prediction is one value."""


class PredictionSchema:
    """Makes tensors of predictions of one type (`Model.prediction_type()`)."""

    def __init__(self, model: str, prediction_type: Any) -> None:
        self._model = model
        info = inspect.type_info(prediction_type)
        self._columns: dict[str, tuple[TensorSpec, Callable[[Sequence[Any]], list[Any]]]] = {}
        if isinstance(info, inspect.StructType):
            for field in info.fields:
                self._add(field.encode_name, field.type, field.name)
        else:
            self._add(OUTPUT, info, None)

    def _add(self, name: str, info: inspect.Type, attribute: str | None) -> None:
        kind, nullable = kind_of(info)
        if nullable and kind.datatype != "FP64":
            kind = Kind("BYTES", json=True)  # null has no place among ints and strings
        self._columns[name] = (TensorSpec(name, kind, optional=nullable), _writer(info, kind, attribute))

    @property
    def outputs(self) -> list[TensorSpec]:
        """The tensors that an answer has, in order."""
        return [spec for spec, _ in self._columns.values()]

    def check_names(self, wanted: Sequence[str]) -> None:
        """Raise `InvalidRequest` if a wanted output does not exist, or is there twice."""
        for name in wanted:
            if name not in self._columns:
                raise InvalidRequest(f"unexpected inference output '{name}' for model '{self._model}'")
        if len(set(wanted)) != len(wanted):
            raise InvalidRequest(f"an output of model '{self._model}' is requested twice")

    def tensors(self, predictions: Sequence[Any], wanted: Sequence[str]) -> list[OutputTensor]:
        """The outputs named in `wanted`, or all.

        Raises:
            ModelFailed: one is NaN or infinite, which JSON could not say; or predictions of one batch differ in length
                where each is a list.
        """
        return [self._tensor(name, predictions) for name in wanted or self._columns]

    def _tensor(self, name: str, predictions: Sequence[Any]) -> OutputTensor:
        spec, write = self._columns[name]
        values = write(predictions)
        if not spec.kind.wide:
            self._check_finite(spec, values, width=1)
            return OutputTensor(name, spec.kind.datatype, [len(values), 1], values)
        widths = {len(row) for row in values}
        if len(widths) > 1:
            raise ModelFailed(
                f"model '{self._model}' predicts lists of different lengths in '{name}': {sorted(widths)}"
            )
        flat, width = list(itertools.chain.from_iterable(values)), widths.pop() if widths else 0
        self._check_finite(spec, flat, width)
        return OutputTensor(name, spec.kind.datatype, [len(values), width], flat)

    def _check_finite(self, spec: TensorSpec, values: list[Any], width: int) -> None:
        """Refuse NaN and infinity, as the stream does. Where `spec.optional`, NaN is how None is written."""
        if spec.kind.datatype != "FP64" or spec.optional or _sum_is_finite(values):
            return
        for i, value in enumerate(values):
            if bad := number_problem(value):
                raise ModelFailed(f"output '{spec.name}' of model '{self._model}' for event {i // width}: {bad}")


def _sum_is_finite(values: list[Any]) -> bool:
    """Whether all are finite numbers. False too where one is not a number, which encoding it will report."""
    try:
        return math.isfinite(sum(values))
    except (TypeError, OverflowError):
        return False


def _writer(info: inspect.Type, kind: Kind, attribute: str | None) -> Callable[[Sequence[Any]], list[Any]]:
    """What takes one output's elements out of the predictions."""
    convert = _converter(info, kind)
    if attribute is None:
        return list if convert is None else lambda predictions: [convert(p) for p in predictions]
    if convert is None:
        return lambda predictions: [getattr(p, attribute) for p in predictions]
    return lambda predictions: [convert(getattr(p, attribute)) for p in predictions]


def _converter(info: inspect.Type, kind: Kind) -> Callable[[Any], Any] | None:
    if kind.json:
        return msgspec.json.encode
    if isinstance(info, inspect.UnionType) and kind.datatype == "FP64":
        return lambda value: float("nan") if value is None else value
    plain = inspect.BoolType | inspect.IntType | inspect.FloatType | inspect.StrType | inspect.BytesType
    if kind.wide or isinstance(info, plain):
        return None
    return msgspec.to_builtins  # enums, dates and the like as their text or number
