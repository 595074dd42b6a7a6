"""A pipeline folder that works, to start from: the files in headrace/model/templates under a name."""

import re
from importlib.resources import files
from pathlib import Path

from headrace.evaluation.names import TaskName
from headrace.model.spec import NAME
from headrace.runtime.errors import ConfigError

DESCRIPTIONS: dict[TaskName, str] = {
    "regression": "A machine's temperature a minute from now",
    "binary": "Whether a machine is hot a minute from now",
    "multiclass": "A machine's state a minute from now",
    "multilabel": "What a machine is within a minute",
    "ranking": "Which machines to look at first",
    "count": "A machine's emergency stops within a minute",
}
FILES = ("pipeline.yaml", "model.py", "source.py", "README.md")


def write_pipeline(name: str, into: Path, task: TaskName = "regression") -> Path:
    """Write the folder and return it; its model does the task.

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
            origin = f"models/{task}.py" if file == "model.py" and task != "regression" else file
            text = (templates / origin).read_text("utf-8")
            for field, value in {"{name}": name, "{task}": task, "{description}": DESCRIPTIONS[task]}.items():
                text = text.replace(field, value)
            (folder / file).write_text(text, "utf-8")
    except FileExistsError as error:
        raise ConfigError(f"{folder} is there already", hint="choose another name, or --in another folder") from error
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}") from error
    return folder
