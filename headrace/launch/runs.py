"""Run folders: `$HEADRACE_HOME` (`~/.local/state/headrace`) / `runs` / <name>, and `current`, the last one started.

A run's folder holds `platform/` (Kafka's and Redis's data and logs), `endpoints/`, `logs/`, `storage/` and
`supervisor.json`.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from headrace.launch.supervisor import SUPERVISOR_FILE
from headrace.platform.files import read_json
from headrace.platform.process import ProcessId
from headrace.platform.state import read_status
from headrace.runtime.errors import ConfigError, PlatformError

HOME_VARIABLE = "HEADRACE_HOME"
CURRENT = "current"
_FOLDERS = ("endpoints", "logs", "storage", "platform")


@dataclass(frozen=True)
class Run:
    """One run's folder and who keeps it going: the process that supervises it or owns its platform, or None."""

    name: str
    folder: Path
    owner: ProcessId | None


def home() -> Path:
    """Where runs are kept."""
    named = os.environ.get(HOME_VARIABLE)
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "headrace"


def name_for(pipeline: Path) -> str:
    """The run's name for a pipeline's folder: what a folder may be called is more than what a run may."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in pipeline.name).lstrip("._-") or "run"


def create(name: str, folder: Path | None = None) -> Path:
    """Make the folder of run `name` (`folder` if given), or take what is there, and let `current` name it.

    Raises:
        ConfigError: the name is no folder's name.
        PlatformError: the folder cannot be made.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) or name == CURRENT:
        raise ConfigError(f"{name!r} is no name for a run", hint="letters, digits, dots and dashes, 64 at most")
    made = (folder or home() / "runs" / name).expanduser().resolve()
    try:
        for part in _FOLDERS:
            (made / part).mkdir(parents=True, exist_ok=True)
        _point_current_at(made)
    except OSError as error:
        raise PlatformError(
            f"cannot make the run's folder: {error}", hint=f"set {HOME_VARIABLE} or --run-dir"
        ) from error
    return made


def _point_current_at(folder: Path) -> None:
    home().mkdir(parents=True, exist_ok=True)
    link = home() / f".{CURRENT}.{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(folder)
    link.replace(home() / CURRENT)


def find(run: str | Path | None = None) -> Path:
    """The folder of a run: by name, by path, or the last one started.

    Raises:
        ConfigError: there is no such run.
    """
    candidates = [home() / CURRENT] if run is None else [home() / "runs" / run, Path(run).expanduser()]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate.resolve()
    known = ", ".join(one.name for one in all_runs()) or "none"
    raise ConfigError(f"no run {str(run)!r}" if run else "nothing was started here yet", hint=f"runs: {known}")


def all_runs() -> list[Run]:
    """All runs under `home()`, by name."""
    return [describe(folder) for folder in sorted((home() / "runs").glob("*")) if folder.is_dir()]


def describe(folder: Path) -> Run:
    """A run by its folder."""
    supervisor = ProcessId.parse(read_json(folder / SUPERVISOR_FILE))
    owner = supervisor if supervisor and supervisor.alive() else read_status(folder / "platform").owner
    return Run(folder.name, folder, owner)


def stop(folder: Path, timeout: float = 60.0) -> bool:
    """Ask the process that keeps a run going to stop it, and wait. Whether there was one.

    Raises:
        PlatformError: it did not end in time and was killed.
    """
    owner = describe(folder).owner
    if owner is None:
        return False
    if not owner.terminate(timeout):
        raise PlatformError(
            f"process {owner.pid} did not stop within {timeout:.0f} s and was killed",
            hint=f"its logs are in {folder / 'logs'}",
        )
    return True
