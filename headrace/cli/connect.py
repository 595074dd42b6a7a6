"""Which run, and which Kafka, a command is about."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.launch import runs
from headrace.launch.run_file import folder_of, kafka_of, model_of
from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings, load

if TYPE_CHECKING:
    from headrace.datasets.using.opened import OpenSet

RunOption = Annotated[
    str | None,
    typer.Option("--run-dir", help="a run, by name or folder (default: the last one started)", show_default=False),
]
KafkaOption = Annotated[
    str | None,
    typer.Option(
        "--kafka", help="host:port of Kafka (default: KAFKA_BOOTSTRAP_SERVERS, else the run's)", show_default=False
    ),
]


def connect(run: str | None = None, kafka: str | None = None) -> ServiceSettings:
    """Settings for clients of the Kafka that `kafka`, else a named run, else the environment, else the last run has.

    Raises:
        ConfigError: none is known, or the run that is named does not exist.
    """
    address = kafka or (kafka_of(runs.find(run)) if run else os.environ.get("KAFKA_BOOTSTRAP_SERVERS"))
    if not address:
        last = folder_of(None)
        address = kafka_of(last) if last else ""
    if not address:
        raise ConfigError(
            "no Kafka is running here", hint="headrace demo or headrace up starts one; or name yours with --kafka"
        )
    return load(ServiceSettings, "headrace", ["--kafka-bootstrap-servers", address])


def connect_to_stores(run: str | None = None, kafka: str | None = None) -> ServiceSettings:
    """As `connect`, with the storage of the run that is meant, unless the environment names one."""
    settings, found = connect(run, kafka), folder_of(run)
    if found is None or settings.run_dir is None or "HEADRACE_STORAGE_DIR" in os.environ:
        return settings
    return settings.model_copy(update={"run_dir": found, "storage_dir": found / "storage"})


def storage(run: str | None = None) -> ServiceSettings:
    """Settings with the storage of the run that is meant, unless the environment names one; Kafka is not needed.

    Raises:
        ConfigError: the run that is named does not exist.
    """
    settings, found = load(ServiceSettings, "headrace"), folder_of(run)
    named = "HEADRACE_STORAGE_DIR" in os.environ or (run is None and "HEADRACE_RUN_DIR" in os.environ)
    if found is None or named:
        return settings
    return settings.model_copy(update={"run_dir": found, "storage_dir": found / "storage"})


def opened_sets(names: "Sequence[str] | None", run: str | None) -> "list[OpenSet]":
    """The data sets of these names in the run's storage.

    Raises:
        ConfigError: there is no such set.
    """
    if not names:
        return []
    from headrace.datasets.opening import open_catalogue
    from headrace.datasets.using.opened import OpenSet

    catalogue = open_catalogue(storage(run))
    return [OpenSet.of(catalogue, name) for name in names]


def exact_sets(names: "Sequence[str] | None", run: str | None) -> list[str]:
    """`name@version` of the data sets of these names: a job goes on with the same ones.

    Raises:
        ConfigError: there is no such set.
    """
    return [opened.manifest.set for opened in opened_sets(names, run)]


def model_named(model: str | None, run: str | None) -> str:
    """The name in the fleet of the model that is meant: the one named, else the run's champion.

    Raises:
        ConfigError: none is named and there is no run.
    """
    found = model_of(model, run)
    if found is None:
        raise ConfigError("which model?", hint="name it: headrace rollback MODEL")
    return found
