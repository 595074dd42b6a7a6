"""`headrace new`: a pipeline folder that works, to start from."""

from pathlib import Path
from typing import Annotated

import typer

from headrace.model.template import FILES, write_pipeline


def new(
    name: Annotated[str, typer.Argument(help="of the pipeline and its folder: small letters, digits, - and _")],
    *,
    into: Annotated[Path, typer.Option("--in", help="folder to write it in")] = Path(),
) -> None:
    """Write a small, commented pipeline that works: a model, example data, settings.

    For example:

      headrace new ticket-prices && headrace check ticket-prices
    """
    folder = write_pipeline(name, into)
    typer.echo(f"wrote {folder}: {', '.join(FILES)}")
    typer.echo(f"next: headrace check {folder}")
