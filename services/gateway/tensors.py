"""Converts JSON events to v2 tensors and answers to predictions, by the model's configuration and without its code.

All events of one request to the model have the same fields, and lists of the same lengths. Events that differ in this
go into separate requests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headrace.model.values import find_bad_number
from services.gateway.errors import BadRequestError

Event = Mapping[str, Any]

_NAMES = {"TYPE_STRING": "BYTES"}


@dataclass(frozen=True)
class Tensor:
    """An input. `wide`: each event has a list; `json`: each element is the field's JSON."""

    name: str
    datatype: str
    wide: bool
    json: bool


@dataclass(frozen=True)
class Signature:
    """The inputs of a model, and which of its outputs are JSON."""

    inputs: Mapping[str, Tensor]
    json_outputs: frozenset[str]


def signature(config: Mapping[str, Any]) -> Signature:
    """The signature from a ModelConfig."""
    json_tensors = set(config.get("parameters", {}).get("json_tensors", {}).get("string_value", "").split(",")) - {""}
    inputs = [
        Tensor(
            one["name"],
            _NAMES.get(one["data_type"], one["data_type"].removeprefix("TYPE_")),
            wide=list(one["dims"]) == [-1],
            json=one["name"] in json_tensors,
        )
        for one in config["input"]
    ]
    outputs = {one["name"] for one in config["output"]}
    return Signature({one.name: one for one in inputs}, frozenset(json_tensors & outputs))


def batches(events: Sequence[Event], of: Signature) -> list[tuple[list[int], list[dict[str, Any]]]]:
    """Requests for the events: each the positions of its events, and its inputs.

    Raises:
        BadRequestError: an event has a field that the model does not know, one that should be a list and is not, or an
            integer that its tensor cannot hold.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for position, event in enumerate(events):
        groups.setdefault(_shape(position, event, of), []).append(position)
    return [(positions, _inputs(positions, [events[i] for i in positions], of)) for positions in groups.values()]


def _shape(position: int, event: Event, of: Signature) -> tuple[Any, ...]:
    if unknown := event.keys() - of.inputs.keys():
        known = ", ".join(of.inputs)
        raise BadRequestError(f"event {position}: the model takes no field {min(unknown)!r}; it takes {known}")
    parts: list[Any] = []
    for name, tensor in of.inputs.items():
        if name not in event:
            parts.append(None)
        elif tensor.wide:
            if not isinstance(event[name], list):
                raise BadRequestError(f"event {position}: field {name!r} must be an array")
            parts.append(len(event[name]))
        else:
            parts.append(1)
    return tuple(parts)


def _inputs(positions: Sequence[int], events: Sequence[Event], of: Signature) -> list[dict[str, Any]]:
    made = []
    for name, tensor in of.inputs.items():
        if name not in events[0]:
            continue
        values = [event[name] for event in events]
        width = len(values[0]) if tensor.wide else 1
        if tensor.json:
            values = [msgspec.json.encode(v).decode() for v in values]
        elif not tensor.wide and any(isinstance(v, list | dict) for v in values):
            raise BadRequestError(f"field {name!r} must be a single value")
        if tensor.datatype == "INT64":
            _check_integers(name, positions, values)
        made.append({"name": name, "datatype": tensor.datatype, "shape": [len(values), width], "data": values})
    return made


def _check_integers(name: str, positions: Sequence[int], values: Sequence[Any]) -> None:
    """The role `rpc` would refuse them too, but it does not know which event has which row of the tensor."""
    for position, value in zip(positions, values, strict=True):
        if (bad := find_bad_number(value, name)) is not None:
            raise BadRequestError(f"event {position}: {bad}")


@dataclass(frozen=True)
class Predicted:
    """The prediction of one event, and the exact weights that made it."""

    prediction: Any
    model: str
    version: int
    checkpoint: str

    def as_dict(self) -> dict[str, Any]:
        """As the gateway answers it."""
        return {
            "prediction": self.prediction,
            "model": self.model,
            "version": self.version,
            "checkpoint": self.checkpoint,
        }


def predictions(answer: Mapping[str, Any], of: Signature) -> list[Predicted]:
    """The predictions in a model's answer, one an event: its outputs as an object, or the only output `prediction`."""
    columns = {one["name"]: _column(one, json=one["name"] in of.json_outputs) for one in answer["outputs"]}
    alone = columns.keys() == {"prediction"}
    rows = (
        columns["prediction"]
        if alone
        else [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    )
    checkpoint = answer.get("parameters", {}).get("checkpoint", "")
    return [Predicted(row, answer["model_name"], int(answer["model_version"]), checkpoint) for row in rows]


def _column(output: Mapping[str, Any], *, json: bool) -> list[Any]:
    values, (count, width) = output["data"], output["shape"]
    if json:
        return [msgspec.json.decode(v) for v in values]
    return (
        values if len(values) == count and width == 1 else [values[i * width : (i + 1) * width] for i in range(count)]
    )
