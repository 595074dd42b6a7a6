"""Which archive a command is about."""

import os
from pathlib import Path

from headrace.archive.folder import root_of
from headrace.launch.run_file import folder_of, pipeline_of
from headrace.runtime.errors import ConfigError


def archive_of(run: str | None, pipeline: str | None, storage: Path | None) -> tuple[Path, str]:
    """The folder of an archive, and its pipeline: those named, else the run's.

    Raises:
        ConfigError: none is known.
    """
    name, where = pipeline or pipeline_of(run), storage or _storage_of(run)
    if name is None:
        raise ConfigError("which pipeline's archive?", hint="--pipeline NAME")
    if where is None:
        raise ConfigError("no run is known here, and so no storage", hint="--storage FOLDER, or --run-dir RUN")
    return root_of(where, name), name


def _storage_of(run: str | None) -> Path | None:
    if named := os.environ.get("HEADRACE_STORAGE_DIR"):
        return Path(named)
    folder = folder_of(run)
    return folder / "storage" if folder else None
