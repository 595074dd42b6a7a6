"""`headrace predict`: ask the newest model, over the Open Inference Protocol v2 that the role `rpc` answers."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from headrace.cli.commands.status import roles_of
from headrace.cli.connect import RunOption
from headrace.launch import runs
from headrace.launch.observe import request
from headrace.launch.run_file import pipeline_of
from headrace.launch.specs import State
from headrace.model.spec_file import load_spec
from headrace.runtime.errors import ConfigError, DataError, DependencyError

Event = dict[str, Any]


def predict(
    folder: Annotated[
        Path | None, typer.Argument(help="the pipeline's folder (default: what the run runs)", show_default=False)
    ] = None,
    *,
    event: Annotated[str, typer.Option("--event", "-e", help="an event as JSON; @FILE reads a file, - standard input")],
    url: Annotated[str | None, typer.Option(help="REST address of a role `rpc` (default: the run's)")] = None,
    run: RunOption = None,
) -> None:
    """Predict one event, or several: a JSON array or an object a line. Prints a line each, with the version that answered.

    For example:

      headrace predict examples/rides --event @ride.json

      headrace tail events -n 3 --values | headrace predict --event -
    """
    model = load_spec(folder).name if folder else pipeline_of(run)
    if model is None:
        raise ConfigError("which pipeline?", hint="headrace predict FOLDER --event ...")
    address = url.rstrip("/") if url else _address(run)
    events = read_events(event)
    inputs = _json(address, f"/v2/models/{model}")["inputs"]
    answer = _json(address, f"/v2/models/{model}/infer", {"inputs": tensors(events, inputs)})
    for line in predictions(answer):
        typer.echo(json.dumps(line))


def read_events(given: str) -> list[Event]:
    """The events in `given`: JSON, `@file` or `-`.

    Raises:
        ConfigError: it is no JSON object, array of objects, or lines of objects.
    """
    try:
        text = sys.stdin.read() if given == "-" else Path(given[1:]).read_text() if given.startswith("@") else given
    except OSError as error:
        raise ConfigError(f"--event {given}: {error.strerror}") from error
    try:
        whole = text.lstrip()
        found = (
            msgspec.json.decode(whole)
            if whole.startswith("[")
            else [msgspec.json.decode(line) for line in _objects(whole)]
        )
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"--event: not JSON: {error}", hint="quote it for the shell: --event '{\"id\": 1}'"
        ) from error
    if not found or not all(isinstance(one, dict) for one in found):
        raise ConfigError("--event: expected an object, an array of objects, or an object a line")
    return found


def _objects(text: str) -> list[str]:
    """One object over several lines, or an object a line."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines if all(line.lstrip().startswith("{") and line.rstrip().endswith("}") for line in lines) else [text]


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


def _address(run: str | None) -> str:
    for role in roles_of(runs.find(run)):
        if role.role == "rpc" and role.state is State.READY and "rest" in role.endpoints:
            return role.endpoints["rest"]
    raise DependencyError("no role `rpc` is ready", hint="headrace status shows what runs; --url names one elsewhere")


def _json(address: str, path: str, body: Any = None) -> Any:
    """A JSON answer of the role `rpc`.

    Raises:
        DependencyError: it does not answer.
        DataError: it refuses, and says why.
    """
    status, answer = request(f"{address}{path}", None if body is None else msgspec.json.encode(body))
    try:
        content = msgspec.json.decode(answer)
    except msgspec.DecodeError as error:
        raise DependencyError(f"{address}{path}: answer {status} is no JSON", hint="is this a v2 server?") from error
    if status != 200:
        reason = content.get("error", content) if isinstance(content, dict) else content
        raise DataError(f"the model says: {reason}")
    return content
