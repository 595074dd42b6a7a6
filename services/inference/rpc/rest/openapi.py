"""The OpenAPI document of the role `rpc`: the v2 routes as data, with the tensors of the model that is served.

The routes are plain Starlette ones (services/inference/rpc/rest/app.py), since a request's cost is Python's, so nothing
generates this document from them; a test compares the two.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from headrace import __version__
from headrace.contracts.oip.tensors import DATATYPES

Json = dict[str, Any]

_DESCRIPTION = """
[Open Inference Protocol v2](https://github.com/kserve/open-inference-protocol): any client of it works here, and gRPC
is served beside this. Every answer names the version of the weights that gave it, and its checkpoint.

Numbers can also go as bytes after the JSON, in the order of the inputs: the header `Inference-Header-Content-Length`
says where the JSON ends, an input's parameter `binary_data_size` how long it is, and `binary_data` of an output or
`binary_data_output` of the request asks for bytes in the answer.

A version is a number that is kept, or a label: `latest`, `stable`, `canary`; the model's metadata and configuration
name them.

Of a request's parameters, `timeout` (µs in the queue) and `priority` (1 is first) decide when it is executed, and
`timing: true` has the answer's parameters say where its time went.
"""

_ELEMENTS: Mapping[str, Json] = {
    "BOOL": {"type": "boolean"},
    "INT64": {"type": "integer", "format": "int64"},
    "FP64": {"type": "number", "format": "double"},
    "BYTES": {"type": "string"},
}
_REFUSED: Mapping[int, str] = {
    400: "The request is wrong.",
    404: "There is no such model or version.",
    409: "There is one of this name already.",
    500: "The model's own code raised.",
    501: "This part of the protocol is not served.",
    503: "No version of the weights is live yet: the same request may succeed later.",
}
_PLACEHOLDERS: Mapping[str, Any] = {"BOOL": True, "INT64": 1, "FP64": 1.0, "BYTES": "text"}
_DATATYPES = {datatype.config: name for name, datatype in DATATYPES.items()}


def _object(properties: Mapping[str, Json], *required: str) -> Json:
    return {"type": "object", "properties": dict(properties), **({"required": list(required)} if required else {})}


def _array(items: Json) -> Json:
    return {"type": "array", "items": items}


_TEXT: Json = {"type": "string"}
_ANY: Json = {"type": "object"}
_SIZE: Json = {"type": "integer", "minimum": 0}
_TENSOR = _object({"name": _TEXT, "datatype": _TEXT, "shape": _array({"type": "integer"})})
_STATE: Json = {"enum": ["READY", "UNAVAILABLE"]}
_UNCHANGING: Mapping[str, Json] = {
    "ModelMetadata": _object(
        {
            "name": _TEXT,
            "versions": _array(_TEXT),
            "platform": _TEXT,
            "inputs": _array(_TENSOR),
            "outputs": _array(_TENSOR),
        }
    ),
    "ModelStats": _object({"model_stats": _array(_ANY)}),
    "ServerMetadata": _object({"name": _TEXT, "version": _TEXT, "extensions": _array(_TEXT)}),
    "Index": _array(_object({"name": _TEXT, "version": _TEXT, "state": _STATE, "reason": _TEXT})),
    "Region": _object({"key": _TEXT, "offset": _SIZE, "byte_size": _SIZE}, "key", "byte_size"),
    "Regions": _array(_object({"name": _TEXT, "key": _TEXT, "offset": _SIZE, "byte_size": _SIZE})),
    "Event": {**_ANY, "description": "a value for each input, by its name; `id` and `parameters` are the request's"},
    "Prediction": {**_ANY, "description": "model_name, model_version, and a value for each output, by its name"},
    "Object": _ANY,
    "Empty": {**_array(_ANY), "maxItems": 0},
    "Error": _object({"error": _TEXT}, "error"),
}
"""Schemas that are the same whatever the model."""


class Operation(NamedTuple):
    """One route. `body` and `answer` name schemas, "" for an empty one; `refused` are the status codes of errors."""

    method: str
    path: str
    tag: str
    summary: str
    body: str = ""
    answer: str = ""
    refused: tuple[int, ...] = ()


def operations() -> Iterator[Operation]:
    """Every route, in the order in which the page shows them."""
    model, versioned = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
    for path, which in ((model, ""), (versioned, ", by this version")):
        refused = (400, 404, 500, 501, 503)
        yield Operation("POST", f"{path}/infer", "predict", f"Predict{which}", "InferRequest", "InferResponse", refused)
        generate = f"Predict one event{which}, as a plain JSON object"
        yield Operation("POST", f"{path}/generate", "predict", generate, "Event", "Prediction", refused)
        events = f"{generate}, answered as a server-sent event"
        yield Operation("POST", f"{path}/generate_stream", "predict", events, "Event", "", refused)
    for path, which in ((model, ""), (versioned, ", in this version")):
        yield Operation("GET", path, "model", f"Inputs and outputs{which}", answer="ModelMetadata", refused=(400, 404))
        yield Operation("GET", f"{path}/ready", "model", f"200 if the model answers{which}, else 400", refused=(400,))
        yield Operation("GET", f"{path}/config", "model", f"Configuration{which}", answer="Object", refused=(400, 404))
        yield Operation("GET", f"{path}/stats", "model", f"Statistics{which}", answer="ModelStats", refused=(400,))
    yield Operation("GET", "/v2/models/stats", "model", "Statistics of every model", answer="ModelStats")
    yield Operation("GET", "/v2/health/live", "server", "200 while the process lives")
    yield Operation(
        "GET", "/v2/health/ready", "server", "200 if the fleet's version is live here, else 400", refused=(400,)
    )
    yield Operation("GET", "/v2", "server", "Name, version and extensions", answer="ServerMetadata")
    repository = "/v2/repository/models/{model}"
    yield Operation(
        "POST", "/v2/repository/index", "repository", "Every model and its state", "Object", "Index", (400,)
    )
    yield Operation("POST", f"{repository}/load", "repository", "Answer requests again", "Object", refused=(400,))
    yield Operation("POST", f"{repository}/unload", "repository", "Answer no more requests, until load", "Object")
    yield Operation("GET", "/v2/logging", "diagnostics", "What is logged", answer="Object")
    yield Operation("POST", "/v2/logging", "diagnostics", "Change what is logged", "Object", "Object", (400, 501))
    for prefix in ("/v2", model):
        path = f"{prefix}/trace/setting"
        yield Operation("GET", path, "diagnostics", "Which requests are traced", answer="Object")
        changes = "Change which requests are traced, where the server's environment names a collector"
        yield Operation("POST", path, "diagnostics", changes, "Object", "Object", (400, 501))
    yield from _shared_memory()


def _shared_memory() -> Iterator[Operation]:
    tag = "shared memory"
    every, one = "/v2/systemsharedmemory", "/v2/systemsharedmemory/region/{region}"
    yield Operation("GET", f"{every}/status", tag, "Every region", answer="Regions")
    yield Operation("GET", f"{one}/status", tag, "One region", answer="Regions", refused=(400,))
    yield Operation("POST", f"{one}/register", tag, "Register a region", "Region", refused=(400, 409, 501))
    yield Operation("POST", f"{every}/unregister", tag, "Unregister every region", "Object")
    yield Operation("POST", f"{one}/unregister", tag, "Unregister a region; an unknown one is as good", "Object")
    none = "CUDA shared memory is not supported: "
    every, one = "/v2/cudasharedmemory", "/v2/cudasharedmemory/region/{region}"
    yield Operation("GET", f"{every}/status", tag, f"{none}an empty list", answer="Empty")
    yield Operation("GET", f"{one}/status", tag, f"{none}no region is known", refused=(400,))
    yield Operation("POST", f"{one}/register", tag, f"{none}refused", "Object", refused=(501,))
    yield Operation("POST", f"{every}/unregister", tag, f"{none}nothing happens", "Object")
    yield Operation("POST", f"{one}/unregister", tag, f"{none}nothing happens", "Object")


def document(config: Mapping[str, Any], samples: Sequence[Any] = ()) -> Json:
    """The document of a server of one model.

    Args:
        config: the model's configuration, as the protocol tells it (a ModelConfig).
        samples: events; the first is the example of a request. Without one the example has the right types, but values
            that the model may refuse.
    """
    paths: dict[str, Json] = {}
    for operation in operations():
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, config["name"])
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Headrace: model {config['name']}", "version": __version__, "description": _DESCRIPTION},
        "paths": paths,
        "components": {"schemas": _schemas(config, _values(samples))},
    }


def _values(samples: Sequence[Any]) -> Mapping[str, Any]:
    """The fields of the first sample that it has, as JSON values."""
    fields = dict(msgspec.to_builtins(samples[0])) if samples else {}
    return {name: value for name, value in fields.items() if value is not None}


def _operation(operation: Operation, model: str) -> Json:
    method, path, tag, summary, body, answer, refused = operation
    errors = {str(status): _content(_REFUSED[status], "Error") for status in refused}
    if path.endswith("/ready"):
        errors = {"400": _content("Not ready.", "")}
    described: Json = {
        "tags": [tag],
        "summary": summary,
        "operationId": f"{method.lower()}{path}".replace("/", "_").replace("{", "").replace("}", ""),
        "responses": {"200": _content("Done.", answer), **errors},
    }
    if names := [part[1:-1] for part in path.split("/") if part.startswith("{")]:
        described["parameters"] = [_parameter(name, model) for name in names]
    if body:
        described["requestBody"] = {"required": body == "InferRequest", **_content("", body)}
        described["requestBody"].pop("description")
    return described


def _parameter(name: str, model: str) -> Json:
    schema: Json = {"type": "string"}
    if name == "model":
        schema["default"] = model
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _content(description: str, schema: str) -> Json:
    content = {"content": {"application/json": {"schema": _ref(schema)}}} if schema else {}
    return {"description": description, **content}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Json]:
    in_json = set(config["parameters"]["json_tensors"]["string_value"].split(","))
    inputs = {f"Input_{one['name']}": _tensor(one, one["name"] in in_json, values) for one in config["input"]}
    outputs = {f"Output_{one['name']}": _tensor(one, one["name"] in in_json, {}) for one in config["output"]}
    shown = [one["name"] for one in config["input"] if one["name"] in values or (not values and not one["optional"])]
    example = {"inputs": [inputs[f"Input_{name}"]["example"] for name in shown]}
    return {
        "InferRequest": {**_infer_request(config, list(inputs)), "example": example},
        "InferResponse": _infer_response(list(outputs)),
        **inputs,
        **outputs,
        **_UNCHANGING,
    }


def _infer_request(config: Mapping[str, Any], inputs: Sequence[str]) -> Json:
    output = _object({"name": {"enum": [one["name"] for one in config["output"]]}, "parameters": _ANY}, "name")
    properties = {
        "id": {**_TEXT, "description": "comes back in the answer"},
        "inputs": _array({"anyOf": [_ref(name) for name in inputs]}),
        "outputs": {**_array(output), "description": "those that are wanted; all by default"},
        "parameters": _ANY,
    }
    limit = f"{config['max_batch_size']} events at most; their number is the first of every shape"
    return {**_object(properties, "inputs"), "description": limit}


def _infer_response(outputs: Sequence[str]) -> Json:
    return _object(
        {
            "model_name": _TEXT,
            "model_version": {**_TEXT, "description": "the version of the weights that answered"},
            "id": _TEXT,
            "parameters": _object({"checkpoint": {**_TEXT, "description": "the checkpoint that holds these weights"}}),
            "outputs": _array({"anyOf": [_ref(name) for name in outputs]}),
        }
    )


def _tensor(one: Mapping[str, Any], is_json: bool, values: Mapping[str, Any]) -> Json:  # noqa: FBT001 - a fact
    """The schema of a tensor: its name, datatype and the type of its elements, with an example of one event."""
    name, datatype, is_wide = one["name"], _DATATYPES[one["data_type"]], one["dims"] == [-1]
    value = values.get(name, [_PLACEHOLDERS[datatype]] if is_wide else _PLACEHOLDERS[datatype])
    data = value if is_wide else [msgspec.json.encode(value).decode() if is_json else value]
    says = f"{'a row of elements' if is_wide else 'one element'} an event"
    says += ", its JSON in a string" * is_json + "; need not be sent" * bool(one.get("optional"))
    element = _ELEMENTS[datatype] | ({"contentMediaType": "application/json"} if is_json else {})
    properties = {
        "name": {"const": name},
        "datatype": {"const": datatype},
        "shape": {**_array({"type": "integer"}), "description": f"[events, {'elements' if is_wide else 1}]"},
        "data": _array(element),
        "parameters": _ANY,
    }
    example = {"name": name, "datatype": datatype, "shape": [1, len(data)], "data": data}
    return {**_object(properties, "name", "datatype", "shape"), "description": says, "example": example}
