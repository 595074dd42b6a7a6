"""Which run, and which Kafka, a command is about."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.model.spec import name_in_fleet
from headrace.platform import runs
from headrace.platform.files import read_json, write_json
from headrace.platform.state import read_status
from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings, load

RunOption = Annotated[
    str | None, typer.Option("--run-dir", help="a run, by name or folder (default: the last one started)", show_default=False)
]
KafkaOption = Annotated[
    str | None,
    typer.Option("--kafka", help="host:port of Kafka (default: KAFKA_BOOTSTRAP_SERVERS, else the run's)", show_default=False),
]

_RUN_FILE = "run.json"


def remember(folder: Path, *, pipeline: str, pipeline_folder: Path, models: Sequence[str] = ()) -> None:
    """Note in a run's folder which pipeline it runs, with its further `models`, for the commands that come later."""
    write_json(folder / _RUN_FILE, {"pipeline": pipeline, "folder": str(pipeline_folder), "models": list(models)})


def pipeline_of(run: str | None) -> str | None:
    """The name of the pipeline that a run is about; None where there is no run."""
    return _noted(run).get("pipeline")


def model_of(name: str | None, run: str | None) -> str | None:
    """The name in the fleet of the model that is meant.

    A further model of the run's pipeline may be named as pipeline.yaml does. Where none is named, it is the run's champion;
    None where there is no run either.
    """
    known = _noted(run)
    if name and name in known.get("models", ()):
        return name_in_fleet(known["pipeline"], name)
    return name or known.get("pipeline")


def _noted(run: str | None) -> dict[str, Any]:
    folder = _folder(run)
    return (read_json(folder / _RUN_FILE) if folder else None) or {}


def connect(run: str | None = None, kafka: str | None = None) -> ServiceSettings:
    """Settings for clients of the Kafka that `kafka`, else a named run, else the environment, else the last run has.

    Raises:
        ConfigError: none is known, or the run that is named does not exist.
    """
    address = kafka or (_kafka_of(runs.find(run)) if run else os.environ.get("KAFKA_BOOTSTRAP_SERVERS"))
    if not address:
        last = _folder(None)
        address = _kafka_of(last) if last else ""
    if not address:
        raise ConfigError(
            "no Kafka is running here", hint="headrace demo or headrace up starts one; or name yours with --kafka"
        )
    return load(ServiceSettings, "headrace", ["--kafka-bootstrap-servers", address])


def _kafka_of(folder: Path) -> str:
    for server in read_status(folder / "platform").servers:
        if server.name == "kafka" and server.state != "stopped":
            return server.address
    return ""


def _folder(run: str | None) -> Path | None:
    try:
        return runs.find(run)
    except ConfigError:
        if run:
            raise
        return None
