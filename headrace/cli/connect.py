"""Which run, and which Kafka, a command is about."""

import os
from pathlib import Path
from typing import Annotated

import typer

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


def remember(folder: Path, *, pipeline: str, pipeline_folder: Path) -> None:
    """Note in a run's folder which pipeline it runs, for the commands that come later."""
    write_json(folder / _RUN_FILE, {"pipeline": pipeline, "folder": str(pipeline_folder)})


def pipeline_of(run: str | None) -> str | None:
    """The name of the pipeline that a run is about; None where there is no run."""
    folder = _folder(run)
    known = read_json(folder / _RUN_FILE) if folder else None
    return str(known["pipeline"]) if known and "pipeline" in known else None


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
