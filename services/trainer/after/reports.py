"""The reports in the folders of jobs."""

from pathlib import Path
from typing import TypeVar

import msgspec

from headrace.runtime.errors import ConfigError
from headrace.runtime.files import synced
from headrace.training.job import Report, TrainingJob

REPORT = "report.json"
T = TypeVar("T")


def read_report(folder: Path, kind: type[T]) -> T | None:
    """The report that a folder has; None before its job is done."""
    try:
        return msgspec.json.decode((folder / REPORT).read_bytes(), type=kind)
    except FileNotFoundError:
        return None


def write_report(folder: Path, report: msgspec.Struct) -> None:
    """Write a job's report, durable when this returns: from then on the job is done."""
    folder.mkdir(parents=True, exist_ok=True)
    with synced(folder / REPORT) as file:
        file.write(msgspec.json.format(msgspec.json.encode(report), indent=2))


def trained_report(job: TrainingJob) -> Report:
    """The report of a training job that is done.

    Raises:
        ConfigError: it is not done, or its files are gone.
    """
    if (report := read_report(job.path, Report)) is None:
        raise ConfigError(f"the training job {job.path.name} is not done, or its files are gone")
    return report
