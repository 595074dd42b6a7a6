"""`headrace new`: a pipeline folder that works, to start from."""

from pathlib import Path
from typing import Annotated

import typer

from headrace.model.template import DESCRIPTIONS, FILES, write_pipeline
from headrace.runtime.errors import ConfigError


def new(
    name: Annotated[str, typer.Argument(help="of the pipeline and its folder: small letters, digits, - and _")],
    *,
    task: Annotated[str, typer.Option(help="what its model predicts: " + ", ".join(DESCRIPTIONS))] = "regression",
    into: Annotated[Path, typer.Option("--in", help="folder to write it in")] = Path(),
) -> None:
    """Write a small, commented pipeline that works: a model, example data, settings.

    For example:

      headrace new ticket-prices && headrace check ticket-prices

      headrace new churn --task binary
    """
    if task not in DESCRIPTIONS:
        raise ConfigError(f"no task {task!r}", hint=f"tasks: {', '.join(DESCRIPTIONS)}")
    folder = write_pipeline(name, into, task)
    typer.echo(f"wrote {folder}: {', '.join(FILES)}")
    typer.echo(f"next: headrace check {folder}")
