"""A pipeline folder that works, to start from: the files in headrace/model/templates under a name."""

import re
from importlib.resources import files
from pathlib import Path

from headrace.model.spec import NAME
from headrace.runtime.errors import ConfigError

FILES = ("pipeline.yaml", "model.py", "source.py", "README.md")


def write_pipeline(name: str, into: Path) -> Path:
    """Write the folder and return it.

    Raises:
        ConfigError: the name will not do, or there is something in its place already.
    """
    if not re.fullmatch(NAME, name):
        raise ConfigError(
            f"{name!r} cannot be a pipeline's name", hint="small letters, digits, - and _, a letter first, 49 at most"
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
