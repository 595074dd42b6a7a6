"""Requests' tensors as columns that can be joined: what dynamic batching puts together, and the events that it makes.

A table is checked so far that joining it with others changes nothing for them: each column has as many elements as
its shape says. What an element may be is checked when the joined columns become events.
"""

import itertools
from collections.abc import Sequence
from typing import Any

from headrace.contracts.oip import tensors
from headrace.contracts.oip.tensors import TensorError
from services.inference.oip.events import EventSchema
from services.inference.oip.kinds import TensorSpec
from services.inference.oip.layout import Column, Layout, Table
from services.inference.oip.messages import InputTensor, InvalidRequest


class Tables:
    """Makes tables of tensors, and events of tables."""

    def __init__(self, model: str, schema: EventSchema) -> None:
        self._model, self._schema = model, schema
        self._places = {spec.name: i for i, spec in enumerate(schema.inputs)}
        self._specs = schema.inputs

    def table(self, sent: Sequence[InputTensor]) -> Table:
        """A request's table.

        Raises:
            InvalidRequest: its tensors do not fit the event's fields, each other, or their own shapes.
        """
        rows = self._schema.check_shapes(sent)
        columns, parts = [], []
        for index in self.order([tensor.name for tensor in sent]):
            column, part = self._part(self._places[sent[index].name], sent[index])
            columns.append(column)
            parts.append(part)
        return Table(rows, tuple(columns), parts)

    def order(self, names: Sequence[str]) -> list[int]:
        """In which order inputs of these names stand in a table."""
        return sorted(range(len(names)), key=lambda index: self._places[names[index]])

    def _part(self, place: int, tensor: InputTensor) -> tuple[Column, Any]:
        try:
            count = tensors.element_count(tensor.shape)
            width = tensor.shape[1] if self._specs[place].kind.wide else 1
            if tensor.raw is None:
                return Column(place, width, raw=False, nulls=tensor.nulls), _counted(tensor, count)
            part = raw_part(tensor.datatype, count, tensor.raw)
            return Column(place, width, raw=tensor.datatype != "BYTES", nulls=False), part
        except TensorError as error:
            raise InvalidRequest(f"input '{tensor.name}' for model '{self._model}': {error}") from error

    def events(self, tables: Sequence[Table]) -> list[Any]:
        """The events of all tables, in order: columns of the same layout are joined once.

        Raises:
            InvalidRequest: an element is not a value of its field. Whose it is, is not said of several tables.
        """
        made: list[Any] = []
        for layout, group in itertools.groupby(tables, key=_layout):
            same = list(group)
            rows = sum(table.rows for table in same)
            parts = same[0].parts if len(same) == 1 else _joined(layout, same)
            joined = [self._tensor(column, rows, part) for column, part in zip(layout, parts, strict=True)]
            made += self._schema.events(joined)
        return made

    def _tensor(self, column: Column, rows: int, part: Any) -> InputTensor:
        spec: TensorSpec = self._specs[column.place]
        shape = (rows, column.width) if spec.kind.wide else (rows,)
        if column.raw:
            return InputTensor(spec.name, spec.kind.datatype, shape, raw=part)
        return InputTensor(spec.name, spec.kind.datatype, shape, values=part, nulls=column.nulls)


def raw_part(datatype: str, count: int, raw: bytes | memoryview) -> Any:
    """Bytes of `count` elements as a table holds them: as they are, and BYTES as a list.

    Raises:
        TensorError: there are more or fewer.
    """
    kind = tensors.datatype(datatype).numpy
    if kind is not None:
        if len(raw) != count * kind.itemsize:
            raise TensorError(f"{len(raw)} bytes where {count} elements of {datatype} take {count * kind.itemsize}")
        return raw
    if count == 1 and len(raw) >= 4 and len(raw) - 4 == int.from_bytes(raw[:4], "little"):
        return [bytes(raw[4:])]
    return tensors.decode(datatype, count, raw)


def _counted(tensor: InputTensor, count: int) -> list[Any]:
    values = tensor.values or []
    if len(values) != count:
        raise TensorError(f"{len(values)} elements where shape {list(tensor.shape)} takes {count}")
    return values


def _layout(table: Table) -> Layout:
    return table.layout


def _joined(layout: Layout, tables: Sequence[Table]) -> list[Any]:
    columns = zip(*(table.parts for table in tables), strict=True)
    return [
        b"".join(parts) if column.raw else list(itertools.chain.from_iterable(parts))
        for column, parts in zip(layout, columns, strict=True)
    ]
