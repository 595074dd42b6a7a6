"""v2 tensors to the pipeline's events: columns first, then one struct a row.

The constraints of the event's fields are checked, and its numbers (`headrace.model.values`).
"""

import inspect as signatures
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import inspect

from headrace.contracts.oip import tensors
from headrace.contracts.oip.tensors import TensorError
from services.inference.oip.columns import Column, ElementError, finite_only, is_finite, reader
from services.inference.oip.kinds import TensorSpec, kind_of
from services.inference.oip.messages import InputTensor, InvalidRequest


class _Input:
    """One field of the event."""

    def __init__(self, field: msgspec.structs.FieldInfo) -> None:
        info = inspect.type_info(field.type)
        kind, self.nullable = kind_of(info)
        self.spec = TensorSpec(field.encode_name, kind, optional=self.nullable or not field.required)
        self._column = reader(field.type, info, kind)
        self._default, self._factory = field.default, field.default_factory

    def absent(self) -> Iterator[Any]:
        """What the field is when no tensor was sent, event after event."""
        if self._factory is not msgspec.NODEFAULT:
            return iter(self._factory, _Never)
        return itertools.repeat(None if self._default is msgspec.NODEFAULT else self._default)

    def column(self, tensor: InputTensor, model: str) -> Column:
        """The field's value for each event.

        Raises:
            InvalidRequest: datatype, shape or data do not fit.
        """
        name, shape = self.spec.name, tensor.shape
        self.check(tensor, model)
        try:
            values = self._elements(tensor)
            if self.spec.kind.wide:
                width = shape[1]
                values = [values[i * width : (i + 1) * width] for i in range(shape[0])]
            return self._column(values)
        except ElementError as error:
            raise InvalidRequest(f"input '{name}' for model '{model}': {error.message(tensor.shape)}") from error
        except (TensorError, msgspec.DecodeError) as error:
            raise InvalidRequest(f"input '{name}' for model '{model}': {error}") from error

    def check(self, tensor: InputTensor, model: str) -> None:
        """Datatype and shape, before anything is decoded."""
        name, kind, shape = self.spec.name, self.spec.kind, tensor.shape
        if tensor.datatype != kind.datatype:
            raise InvalidRequest(
                f"inference input '{name}' data-type is '{tensor.datatype}', "
                f"but model '{model}' expects '{kind.datatype}'"
            )
        fits = len(shape) == 2 if kind.wide else len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)
        if not fits:
            expected = [-1, *self.spec.dims]
            raise InvalidRequest(
                f"unexpected shape for input '{name}' for model '{model}': expected {expected}, got {list(shape)}"
            )
        if tensor.nulls and (kind.wide or not self.nullable):
            raise InvalidRequest(f"input '{name}' holds null, and the field may not be absent from a single event")

    def _elements(self, tensor: InputTensor) -> Column:
        count = tensors.element_count(tensor.shape)
        raw = tensor.raw
        values = tensor.values or [] if raw is None else tensors.decode(tensor.datatype, count, raw)
        if len(values) != count:
            raise TensorError(f"{len(values)} elements where shape {list(tensor.shape)} takes {count}")
        if tensor.datatype == "FP64" and not is_finite(raw, values, nulls=tensor.nulls):
            return finite_only(values, nan_is_none=self.nullable and not self.spec.kind.wide)
        return values


class _Never:
    """Equal to nothing: ends no iterator."""


class EventSchema:
    """Makes events of tensors."""

    def __init__(self, model: str, event_type: type[msgspec.Struct]) -> None:
        self._model = model
        self._make = _constructor(event_type)
        self._inputs = [_Input(f) for f in msgspec.structs.fields(event_type)]
        self._names = {i.spec.name for i in self._inputs}
        self._required = {i.spec.name for i in self._inputs if not i.spec.optional}

    @property
    def inputs(self) -> list[TensorSpec]:
        """The tensors that a request has, in order."""
        return [i.spec for i in self._inputs]

    @property
    def nullable(self) -> list[bool]:
        """Which of the tensors may hold null, in order."""
        return [i.nullable and not i.spec.kind.wide for i in self._inputs]

    def check_names(self, sent: Sequence[InputTensor]) -> dict[str, InputTensor]:
        """The inputs by name.

        Raises:
            InvalidRequest: one is missing, unknown or there twice.
        """
        by_name = {tensor.name: tensor for tensor in sent}
        if len(by_name) != len(sent):
            twice = next(t.name for t in sent if by_name[t.name] is not t)
            raise InvalidRequest(f"input '{twice}' already exists in request")
        if unknown := by_name.keys() - self._names:
            raise InvalidRequest(f"unexpected inference input '{min(unknown)}' for model '{self._model}'")
        if missing := self._required - by_name.keys():
            raise InvalidRequest(f"expected input '{min(missing)}' for model '{self._model}' is missing")
        if not by_name:
            raise InvalidRequest(f"no input was sent to model '{self._model}'")
        return by_name

    def check_shapes(self, sent: Sequence[InputTensor]) -> int:
        """The number of events that the tensors make, by their names, datatypes and shapes.

        Their data is not looked at.

        Raises:
            InvalidRequest: the tensors do not fit the event's fields, or each other.
        """
        by_name = self.check_names(sent)
        rows = self._rows(sent)
        for one in self._inputs:
            if (tensor := by_name.get(one.spec.name)) is not None:
                one.check(tensor, self._model)
        if rows == {0}:
            raise InvalidRequest(f"a batch of 0 events was sent to model '{self._model}'")
        return rows.pop()

    def _rows(self, sent: Sequence[InputTensor]) -> set[int]:
        rows = {tensor.shape[0] for tensor in sent if tensor.shape}
        if len(rows) > 1:
            raise InvalidRequest(f"inputs of model '{self._model}' disagree on the batch size: {sorted(rows)}")
        return rows

    def events(self, sent: Sequence[InputTensor]) -> list[Any]:
        """The events that the tensors make, N ≥ 1.

        Raises:
            InvalidRequest: the tensors do not fit the event's fields, or each other.
        """
        by_name = self.check_names(sent)
        rows = self._rows(sent)
        columns = [
            i.column(by_name[i.spec.name], self._model) if i.spec.name in by_name else i.absent() for i in self._inputs
        ]
        if rows == {0}:
            raise InvalidRequest(f"a batch of 0 events was sent to model '{self._model}'")
        try:
            return self._make(columns)
        except (TypeError, ValueError) as error:  # what an event's __post_init__ raises to refuse it
            raise InvalidRequest(f"model '{self._model}' refuses an event: {error}") from error


def _constructor(event_type: type[msgspec.Struct]) -> Callable[[list[Any]], list[Any]]:
    """What makes N events of a list of columns, one column a field."""
    parameters = signatures.signature(event_type).parameters.values()
    if all(p.kind is not p.KEYWORD_ONLY for p in parameters):
        return lambda columns: list(map(event_type, *columns))
    names = event_type.__struct_fields__
    return lambda columns: [event_type(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=False)]
