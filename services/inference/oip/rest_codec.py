"""REST bodies to requests, and answers to bodies: JSON, and the binary extension, in which bytes follow the JSON."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from headrace.contracts.oip import tensors
from services.inference.oip.json_data import elements, endless_element
from services.inference.oip.kinds import TensorSpec
from services.inference.oip.messages import (
    InferAnswer,
    InferRequest,
    InputTensor,
    InvalidRequest,
    OutputTensor,
    Unsupported,
)
from services.inference.oip.plain_json import PlainJson
from services.inference.oip.shared_memory import OFF, REGION, Place, Regions

HEADER_LENGTH = "Inference-Header-Content-Length"
MAX_BODY = 1 << 30
"""Bytes of a request, once decompressed."""

_LENGTH_DIGITS = 19
_WINDOW = {"gzip": 31, "deflate": 15}  # zlib's window bits for the two formats


@dataclass(slots=True)
class BinaryOutputs:
    """Which outputs are wanted as bytes: those named, or all others by `default`."""

    default: bool = False
    named: dict[str, bool] = field(default_factory=dict)

    def wants(self, name: str) -> bool:
        """Whether this output goes as bytes."""
        return self.named.get(name, self.default)


def decompress(body: bytes, coding: str) -> bytes:
    """The body without its Content-Encoding.

    Raises:
        Unsupported: another coding than gzip and deflate.
        InvalidRequest: the body is not in that coding, or grows beyond `MAX_BODY`.
    """
    if coding in ("", "identity"):
        return body
    if coding not in _WINDOW:
        raise Unsupported(f"Unsupported Content-Encoding: {coding}")
    decoder = zlib.decompressobj(_WINDOW[coding])
    try:
        plain = decoder.decompress(body, MAX_BODY)
    except zlib.error as error:
        raise InvalidRequest(f"the body is not in {coding}: {error}") from error
    if not decoder.eof:
        raise InvalidRequest(f"the {coding} body is cut off, or more than {MAX_BODY} bytes")
    return plain


def compress(body: bytes, coding: str) -> bytes:
    """The body in gzip or deflate."""
    encoder = zlib.compressobj(1, zlib.DEFLATED, _WINDOW[coding])
    return encoder.compress(body) + encoder.flush()


def parse_json(body: bytes) -> dict[str, Any]:
    """A body's JSON object; {} for an empty body.

    Raises:
        InvalidRequest: no JSON, or no object.
    """
    if not body:
        return {}
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        problem = endless_element(body) or f"failed to parse the request JSON buffer: {error}"
        raise InvalidRequest(problem) from error
    if not isinstance(content, dict):
        raise InvalidRequest("failed to parse the request JSON buffer: expected an object")
    return content


def parse_infer(
    model: str,
    version: str,
    body: bytes,
    header_length: str | None,
    specs: list[TensorSpec],
    *,
    plain: PlainJson | None = None,
    regions: Regions = OFF,
) -> tuple[InferRequest, BinaryOutputs]:
    """A request to predict from its body. `plain` is tried first with JSON inputs; those in shared memory are read.

    Raises:
        InvalidRequest: the body is not what the protocol says, or a tensor is not inside its region of shared memory.
        Unsupported: shared memory is switched off.
    """
    if header_length is None:
        header, binary = body, None
    else:
        at = _length(header_length, body)
        if at == 0:
            return InferRequest(model, version, [_raw_input(model, body, specs)]), BinaryOutputs(default=True)
        header, binary = body[:at], _Binary(memoryview(body)[at:])
    content = parse_json(header)
    sent = _list(content, "inputs", required=True)
    table = plain.table(sent) if plain is not None and binary is None else None
    inputs = [] if table is not None else [_input(_object(one, "inputs"), binary, regions) for one in sent]
    if binary is not None and binary.left:
        raise InvalidRequest(f"{binary.left} bytes of binary data belong to no input")
    wanted, outputs, places = _outputs(content, regions)
    identifier = content.get("id", "")
    if not isinstance(identifier, str):
        raise InvalidRequest("'id' must be a string")
    return InferRequest(model, version, inputs, wanted, identifier, _parameters(content), table, places), outputs


def _length(text: str, body: bytes) -> int:
    if text.isascii() and text.isdigit() and len(text) <= _LENGTH_DIGITS and int(text) <= len(body):
        return int(text)
    raise InvalidRequest(f"invalid {HEADER_LENGTH} '{text[:40]}' for a body of {len(body)} bytes")


class _Binary:
    """The bytes after the JSON, handed out in order."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int, name: str) -> memoryview:
        if not 0 <= size <= self.left:
            raise InvalidRequest(f"input '{name}' claims {size} bytes of binary data, {self.left} are left")
        self._at += size
        return self._data[self._at - size : self._at]


def _raw_input(model: str, body: bytes, specs: list[TensorSpec]) -> InputTensor:
    """The whole body as the one input of a batch of 1."""
    if len(specs) != 1:
        raise InvalidRequest(f"raw request must only have 1 input (found {len(specs)}) to be deduced, model '{model}'")
    spec, kind = specs[0], tensors.DATATYPES[specs[0].kind.datatype].numpy
    if kind is None:
        return InputTensor(spec.name, spec.kind.datatype, (1, 1), values=[body])
    width = len(body) // kind.itemsize if spec.kind.wide else 1
    return InputTensor(spec.name, spec.kind.datatype, (1, width), raw=body)


def _list(content: Mapping[str, Any], key: str, *, required: bool = False) -> list[Any]:
    value = content.get(key)
    if value is None and not required:
        return []
    if not isinstance(value, list):
        raise InvalidRequest(f"'{key}' must be an array" if key in content else f"'{key}' is missing from the request")
    return value


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise InvalidRequest(f"every element of '{where}' must be an object with a 'name'")
    return value


def _parameters(content: Mapping[str, Any]) -> dict[str, Any]:
    parameters = content.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidRequest("'parameters' must be an object")
    return parameters


def _input(content: dict[str, Any], binary: _Binary | None, regions: Regions) -> InputTensor:
    name, datatype, shape = content["name"], content.get("datatype"), content.get("shape")
    if not isinstance(datatype, str):
        raise InvalidRequest(f"input '{name}' has no 'datatype'")
    if not isinstance(shape, list) or any(type(side) is not int for side in shape):
        raise InvalidRequest(f"input '{name}' has no 'shape' of integers")
    parameters = _parameters(content)
    if (place := regions.place(f"input '{name}'", parameters)) is not None:
        if "data" in content or "binary_data_size" in parameters:
            raise InvalidRequest(f"input '{name}' has data, and its parameter '{REGION}' says that it is elsewhere")
        return InputTensor(name, datatype, shape, raw=place.read(f"input '{name}'"))
    size = parameters.get("binary_data_size")
    if size is not None:
        if type(size) is not int or binary is None:
            raise InvalidRequest(f"input '{name}' has binary data, and the request no {HEADER_LENGTH} that says where")
        return InputTensor(name, datatype, shape, raw=binary.take(size, name))
    if "data" not in content:
        raise InvalidRequest(f"input '{name}' has neither 'data' nor binary data")
    values, nulls = elements(name, datatype, content["data"])
    return InputTensor(name, datatype, shape, values=values, nulls=nulls)


def _outputs(content: Mapping[str, Any], regions: Regions) -> tuple[list[str], BinaryOutputs, dict[str, Place]]:
    default = _parameters(content).get("binary_data_output", False)
    binary = BinaryOutputs(default=_flag(default, "binary_data_output"))
    wanted: list[str] = []
    places: dict[str, Place] = {}
    for one in _list(content, "outputs"):
        output = _object(one, "outputs")
        parameters = _parameters(output)
        if parameters.get("classification"):
            raise InvalidRequest(f"output '{output['name']}': the classification extension is not supported")
        if (place := regions.place(f"output '{output['name']}'", parameters)) is not None:
            places[output["name"]] = place
        if "binary_data" in parameters:
            binary.named[output["name"]] = _flag(parameters["binary_data"], "binary_data")
        wanted.append(output["name"])
    return wanted, binary, places


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(f"parameter '{name}' must be true or false")
    return value


def render_answer(answer: InferAnswer, binary: BinaryOutputs) -> tuple[bytes, int | None]:
    """The answer's body, and the length of its JSON where bytes follow that."""
    outputs: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for tensor in answer.outputs:
        one: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if tensor.placed is not None:
            one["parameters"] = tensor.placed
        elif binary.wants(tensor.name):
            tail.append(tensor.raw())
            one["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            one["data"] = json_values(tensor)
        outputs.append(one)
    content: dict[str, Any] = {"model_name": answer.model, "model_version": str(answer.version)}
    if answer.id:
        content["id"] = answer.id
    content |= {"parameters": {"checkpoint": answer.checkpoint, **(answer.parameters or {})}, "outputs": outputs}
    header = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([header, *tail]), len(header)) if tail else (header, None)


def json_values(tensor: OutputTensor) -> list[Any]:
    """An output's elements as JSON has them.

    Raises:
        InvalidRequest: bytes that are no text.
    """
    if tensor.datatype != "BYTES":
        return tensor.values
    try:
        return [v if isinstance(v, str) else v.decode() for v in tensor.values]
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"output '{tensor.name}' is not text: ask for it with binary_data") from error
