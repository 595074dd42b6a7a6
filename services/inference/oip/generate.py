"""The generate extension: one event as a plain JSON object, and its prediction as another, without tensors.

A key that names an input is that input's value for the one event: a scalar, or an array where each event has a row of
elements; where the tensor's elements are JSON, the value itself. `id` and `parameters` are the request's. Any other key
is a parameter, as for Triton.
"""

from collections.abc import Container, Sequence
from typing import Any

import orjson

from services.inference.oip.json_data import elements
from services.inference.oip.kinds import TensorSpec
from services.inference.oip.messages import InferAnswer, InferRequest, InputTensor, InvalidRequest, OutputTensor
from services.inference.oip.rest_codec import json_values, parse_json


def parse_generate(model: str, version: str, body: bytes, specs: Sequence[TensorSpec]) -> InferRequest:
    """A request of one event.

    Raises:
        InvalidRequest: the body is no JSON object, or a value is not one of its input's datatype.
    """
    content = parse_json(body)
    inputs = [_input(spec, content.pop(spec.name)) for spec in specs if spec.name in content]
    identifier, parameters = content.pop("id", ""), content.pop("parameters", None) or {}
    if not isinstance(identifier, str):
        raise InvalidRequest("'id' must be a string")
    if not isinstance(parameters, dict):
        raise InvalidRequest("'parameters' must be an object")
    return InferRequest(model, version, inputs, id=identifier, parameters={**content, **parameters})


def _input(spec: TensorSpec, value: Any) -> InputTensor:
    data = [orjson.dumps(value).decode()] if spec.kind.json and value is not None else value
    values, nulls = elements(spec.name, spec.kind.datatype, data)
    return InputTensor(spec.name, spec.kind.datatype, (1, len(values)), values=values, nulls=nulls)


def render_generated(answer: InferAnswer, in_json: Container[str] = ()) -> bytes:
    """The answer's JSON object: each output's one element, or its array; of those named `in_json` their own JSON."""
    content: dict[str, Any] = {"model_name": answer.model, "model_version": str(answer.version)}
    if answer.id:
        content["id"] = answer.id
    content["parameters"] = {"checkpoint": answer.checkpoint, **(answer.parameters or {})}
    content |= {tensor.name: _value(tensor, tensor.name in in_json) for tensor in answer.outputs}
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def _value(tensor: OutputTensor, is_json: bool) -> Any:  # noqa: FBT001 - a fact
    values = json_values(tensor)
    if is_json:
        values = [orjson.Fragment(value) for value in values]
    return values[0] if len(values) == 1 else values
