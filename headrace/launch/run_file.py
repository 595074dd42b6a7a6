"""What a run's folder says of the run: which pipeline it is of, and where its Kafka is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace.launch import runs
from headrace.model.spec import name_in_fleet
from headrace.platform.files import read_json, write_json
from headrace.platform.state import read_status
from headrace.runtime.errors import ConfigError

_RUN_FILE = "run.json"


def remember(folder: Path, *, pipeline: str, pipeline_folder: Path, models: Sequence[str] = ()) -> None:
    """Note in a run's folder which pipeline it runs, with its further `models`, for the commands that come later."""
    write_json(folder / _RUN_FILE, {"pipeline": pipeline, "folder": str(pipeline_folder), "models": list(models)})


def pipeline_of(run: str | None) -> str | None:
    """The name of the pipeline that a run is about; None where there is no run."""
    return _noted(run).get("pipeline")


def model_of(name: str | None, run: str | None) -> str | None:
    """The name in the fleet of the model that is meant.

    A further model of the run's pipeline may be named as pipeline.yaml does. Where none is named, it is the run's
    champion; None where there is no run either.
    """
    known = _noted(run)
    if name and name in known.get("models", ()):
        return name_in_fleet(known["pipeline"], name)
    return name or known.get("pipeline")


def _noted(run: str | None) -> dict[str, Any]:
    folder = folder_of(run)
    return (read_json(folder / _RUN_FILE) if folder else None) or {}


def kafka_of(folder: Path) -> str:
    """The address of the run's Kafka; "" where it has none, or has stopped it."""
    for server in read_status(folder / "platform").servers:
        if server.name == "kafka" and server.state != "stopped":
            return server.address
    return ""


def folder_of(run: str | None) -> Path | None:
    """The run's folder: the last one started where none is named; None where there is none.

    Raises:
        ConfigError: the named run does not exist.
    """
    try:
        return runs.find(run)
    except ConfigError:
        if run:
            raise
        return None
