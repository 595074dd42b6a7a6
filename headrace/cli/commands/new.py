"""`headrace new`: a pipeline folder that works, to start from."""

import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from headrace.model.spec import NAME
from headrace.runtime.errors import ConfigError

FILES = ("pipeline.yaml", "model.py", "source.py", "README.md")


def new(
    name: Annotated[str, typer.Argument(help="of the pipeline and its folder: small letters, digits, - and _")],
    *,
    into: Annotated[Path, typer.Option("--in", help="folder to write it in")] = Path(),
) -> None:
    """Write a small, commented pipeline that works: a model, example data, settings.

    For example:

      headrace new ticket-prices && headrace check ticket-prices
    """
    folder = write(name, into)
    typer.echo(f"wrote {folder}: {', '.join(FILES)}")
    typer.echo(f"next: headrace check {folder}")


def write(name: str, into: Path) -> Path:
    """Write the folder and return it.

    Raises:
        ConfigError: the name will not do, or there is something in its place already.
    """
    if not re.fullmatch(NAME, name):
        raise ConfigError(
            f"{name!r} is no name for a pipeline", hint="small letters, digits, - and _, a letter first, 49 at most"
        )
    folder = into / name
    templates = files("headrace.model") / "templates"
    try:
        folder.mkdir(parents=True)
        for file in FILES:
            (folder / file).write_text((templates / file).read_text("utf-8").replace("{name}", name), "utf-8")
    except FileExistsError as error:
        raise ConfigError(f"{folder} is there already", hint="choose another name, or --in another folder") from error
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}") from error
    return folder
