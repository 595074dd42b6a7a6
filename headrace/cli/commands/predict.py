"""`headrace predict`: ask the newest model, over the Open Inference Protocol v2 that the role `rpc` answers."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.connect import RunOption
from headrace.client.predict import Event, parse_events
from headrace.client.predict import predict as ask
from headrace.launch.run_file import pipeline_of
from headrace.launch.run_status import ready_address
from headrace.model.spec_file import load_spec
from headrace.runtime.errors import ConfigError


def predict(
    folder: Annotated[
        Path | None, typer.Argument(help="the pipeline's folder (default: what the run runs)", show_default=False)
    ] = None,
    *,
    event: Annotated[str, typer.Option("--event", "-e", help="an event as JSON; @FILE reads a file, - standard input")],
    url: Annotated[str | None, typer.Option(help="REST address of a role `rpc` (default: the run's)")] = None,
    run: RunOption = None,
) -> None:
    """Predict one event, or several: a JSON array or an object a line. Prints a line each, with the model's version.

    For example:

      headrace predict examples/rides --event @ride.json

      headrace tail events -n 3 --values | headrace predict --event -
    """
    model = load_spec(folder).name if folder else pipeline_of(run)
    if model is None:
        raise ConfigError("which pipeline?", hint="headrace predict FOLDER --event ...")
    events = read_events(event)
    address = url.rstrip("/") if url else ready_address(run, "rpc", "rest")
    for line in ask(address, model, events):
        typer.echo(json.dumps(line))


def read_events(given: str) -> list[Event]:
    """The events in `given`: JSON, `@file` or `-`.

    Raises:
        ConfigError: it is not a JSON object, an array of objects, or lines of objects; the text names event and field.
    """
    try:
        if given == "-":
            text = sys.stdin.buffer.read()
        else:
            text = Path(given[1:]).read_bytes() if given.startswith("@") else given.encode()
    except OSError as error:
        raise ConfigError(f"--event {given}: {(error.strerror or str(error)).lower()}") from error
    try:
        return parse_events(text)
    except ValueError as error:
        hint = "" if given[:1] in ("-", "@") else "quote it for the shell: --event '{\"id\": 1}'"
        raise ConfigError(f"--event: {error}", hint=hint) from error
