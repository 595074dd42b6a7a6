"""Predictions of the newest model, over the Open Inference Protocol v2 that the role `rpc` answers on REST."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.model.json_errors import DECODE_ERRORS, json_problem
from headrace.runtime.errors import DataError, DependencyError
from headrace.runtime.http import request

Event = dict[str, Any]


def predict(address: str, model: str, events: Sequence[Event]) -> list[dict[str, Any]]:
    """One object an event: its prediction, or each output by name, and the model and version that answered.

    `address` is a role `rpc`'s, as `http://host:port`.

    Raises:
        DependencyError: nothing answers there.
        DataError: an event does not fit the model, or the model refuses it.
    """
    inputs = _ask(address, f"/v2/models/{model}")["inputs"]
    return predictions(_ask(address, f"/v2/models/{model}/infer", {"inputs": tensors(events, inputs)}))


def parse_events(text: bytes) -> list[Event]:
    """The events in a text: a JSON object, an array of objects, or an object a line.

    Raises:
        ValueError: it is neither; the text names the event and the field where it can.
    """
    whole = text.removeprefix(b"\xef\xbb\xbf").strip()
    parts = [whole] if whole.startswith(b"[") else _objects(whole)
    found: list[Any] = []
    for i, part in enumerate(parts):
        try:
            value = msgspec.json.decode(part)
        except DECODE_ERRORS as error:
            where = f"event {i}: " if len(parts) > 1 else ""
            raise ValueError(f"not JSON: {where}{json_problem(part, error).named_in('event')}") from error
        found += value if whole.startswith(b"[") else [value]
    if not found or not all(isinstance(one, dict) for one in found):
        raise ValueError("expected an object, an array of objects, or an object a line")
    return found


def _objects(text: bytes) -> list[bytes]:
    """One object over several lines, or an object a line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines if all(line.startswith(b"{") and line.endswith(b"}") for line in lines) else [text]


def tensors(events: Sequence[Event], inputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events as one tensor a field, of the types and shapes that the model's metadata tells.

    Raises:
        DataError: an event has a field that the model does not know.
    """
    known = {one["name"] for one in inputs}
    for one in events:
        if strange := set(one) - known:
            raise DataError(f"the model takes no field {min(strange)!r}", hint=f"it takes {', '.join(sorted(known))}")
    made = []
    for spec in inputs:
        present = [one[spec["name"]] for one in events if spec["name"] in one]
        if len(present) == len(events):  # what no event has is the server's to fill in, or to ask for
            made.append(_tensor(spec, present))
        elif present:
            raise DataError(
                f"some events have {spec['name']!r} and some have not", hint="give it to all, or send them apart"
            )
    return made


def _tensor(spec: dict[str, Any], values: list[Any]) -> dict[str, Any]:
    wide = len(spec["shape"]) == 2 and spec["shape"][1] == -1
    shape = [len(values), len(values[0]) if wide else 1]
    if spec["datatype"] == "BYTES":
        values = [v if isinstance(v, str) or v is None else json.dumps(v) for v in values]
    return {"name": spec["name"], "datatype": spec["datatype"], "shape": shape, "data": values}


def predictions(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """One object an event: its prediction, or each output by name, and the version."""
    outputs = {one["name"]: one["data"] for one in answer["outputs"]}
    return [
        {**dict(zip(outputs, row, strict=True)), "model": answer["model_name"], "version": int(answer["model_version"])}
        for row in zip(*outputs.values(), strict=True)
    ]


def _ask(address: str, path: str, body: Any = None) -> Any:
    """A JSON answer of the role `rpc`.

    Raises:
        DependencyError: it does not answer.
        DataError: it refuses, and says why.
    """
    status, answer = request(f"{address}{path}", None if body is None else msgspec.json.encode(body))
    try:
        content = msgspec.json.decode(answer)
    except msgspec.DecodeError as error:
        raise DependencyError(f"{address}{path}: answer {status} is not JSON", hint="is this a v2 server?") from error
    if status != 200:
        reason = content.get("error", content) if isinstance(content, dict) else content
        raise DataError(f"the model says: {reason}")
    return content
