"""v2 tensors to the pipeline's events: columns first, then one struct a row; the event's constraints are checked."""

import inspect as signatures
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import inspect

from headrace.contracts.oip import tensors
from headrace.contracts.oip.tensors import TensorError
from services.inference.oip.kinds import Kind, TensorSpec, kind_of
from services.inference.oip.messages import InputTensor, InvalidRequest

Column = list[Any]


class _Input:
    """One field of the event."""

    def __init__(self, field: msgspec.structs.FieldInfo) -> None:
        info = inspect.type_info(field.type)
        kind, self.nullable = kind_of(info)
        self.spec = TensorSpec(field.encode_name, kind, optional=self.nullable or not field.required)
        self._column = _reader(field.type, info, kind, nullable=self.nullable)
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
        self._check(tensor, model)
        try:
            values = self._elements(tensor)
            if self.spec.kind.wide:
                width = shape[1]
                values = [values[i * width : (i + 1) * width] for i in range(shape[0])]
            return self._column(values)
        except (TensorError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"input '{name}' for model '{model}': {error}") from error

    def _check(self, tensor: InputTensor, model: str) -> None:
        """Datatype and shape, before anything is decoded."""
        name, kind, shape = self.spec.name, self.spec.kind, tensor.shape
        if tensor.datatype != kind.datatype:
            raise InvalidRequest(
                f"inference input '{name}' data-type is '{tensor.datatype}', but model '{model}' expects '{kind.datatype}'"
            )
        fits = len(shape) == 2 if kind.wide else len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)
        if not fits:
            raise InvalidRequest(
                f"unexpected shape for input '{name}' for model '{model}': expected {[-1, *self.spec.dims]}, got {list(shape)}"
            )
        if tensor.nulls and not self.nullable:
            raise InvalidRequest(f"input '{name}' holds null, and the field may not be absent from a single event")

    def _elements(self, tensor: InputTensor) -> Column:
        count = tensors.element_count(tensor.shape)
        if tensor.raw is not None:
            return tensors.decode(tensor.datatype, count, tensor.raw)
        values = tensor.values or []
        if len(values) != count:
            raise TensorError(f"{len(values)} elements where shape {list(tensor.shape)} takes {count}")
        return values


class _Never:
    """Equal to nothing: ends no iterator."""


def _reader(annotation: Any, info: inspect.Type, kind: Kind, *, nullable: bool) -> Callable[[Column], Column]:
    """What turns a tensor's elements into the field's values; constraints of the annotation are checked, column at a time."""
    if kind.json:
        decoder = msgspec.json.Decoder(annotation)
        return lambda values: [v if v is None else decoder.decode(v) for v in values]
    checked = _check(annotation) if not _unconstrained(info) else None
    steps: list[Callable[[Column], Column]] = []
    if kind.datatype == "FP64" and nullable and not kind.wide:
        steps.append(_nan_to_none)
    if kind.datatype == "BYTES":
        steps.append(_to_bytes if _holds_bytes(info) else _to_text)
    if checked is not None and not _holds_bytes(info):
        steps.append(checked)
    if not steps:
        return _as_is
    return steps[0] if len(steps) == 1 else lambda values: steps[1](steps[0](values))


def _as_is(values: Column) -> Column:
    return values


def _nan_to_none(values: Column) -> Column:
    return [None if v != v else v for v in values]  # noqa: PLR0124 - NaN is what differs from itself


def _to_text(values: Column) -> Column:
    return [v.decode() if isinstance(v, bytes) else v for v in values]


def _to_bytes(values: Column) -> Column:
    return [v.encode() if isinstance(v, str) else v for v in values]


def _check(annotation: Any) -> Callable[[Column], Column]:
    column = list[annotation]
    return lambda values: msgspec.convert(values, column)


def _unconstrained(info: inspect.Type) -> bool:
    """Whether any element of the datatype is a value of the type."""
    match info:
        case inspect.UnionType(types=types):
            return all(isinstance(t, inspect.NoneType) or _unconstrained(t) for t in types)
        case inspect.ListType(item_type=item, min_length=None, max_length=None):
            return _unconstrained(item)
        case inspect.IntType() | inspect.FloatType() | inspect.StrType() | inspect.BoolType() | inspect.BytesType():
            return info == type(info)()  # as it is without constraints
    return False


def _holds_bytes(info: inspect.Type) -> bool:
    types = info.types if isinstance(info, inspect.UnionType) else (info,)
    return any(isinstance(t, inspect.BytesType) for t in types)


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

    def events(self, sent: Sequence[InputTensor]) -> list[Any]:
        """The events that the tensors make, N ≥ 1.

        Raises:
            InvalidRequest: the tensors do not fit the event's fields, or each other.
        """
        by_name = self.check_names(sent)
        rows = {tensor.shape[0] for tensor in sent if tensor.shape}
        if len(rows) > 1:
            raise InvalidRequest(f"inputs of model '{self._model}' disagree on the batch size: {sorted(rows)}")
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
