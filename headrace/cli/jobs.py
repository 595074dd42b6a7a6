"""Running a training job's process, for the commands that do."""

import asyncio
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import typer

from headrace.jobs.process import JobProcess, environment
from headrace.runtime.errors import ConfigError, HeadraceError
from headrace.runtime.settings import ServiceSettings

INTERRUPTED = 130


def written(job: Any, folder: Path) -> Path:
    """The job's file in its folder; another job's results are not written over.

    Raises:
        ConfigError: the folder is another job's, or cannot be written.
    """
    path, data = folder / "job.json", msgspec.json.encode(job)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_bytes() != data:
            raise ConfigError(f"{folder}: holds another job", hint="choose another --output, or remove it")
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint="--output FOLDER") from error
    return path


def run_process(
    module: str, job_file: Path, settings: ServiceSettings, heard: Callable[[Mapping[str, Any]], None], later: str
) -> dict[str, Any]:
    """Run `python -m module job_file` to its end and return its summary. `later` says what the same command does then.

    Raises:
        HeadraceError: what the process says went wrong.
        typer.Exit: it was stopped, or died.
    """
    code, said = asyncio.run(_run(module, job_file, settings, heard))
    if "summary" in said:
        return dict(said["summary"])
    if "error" in said:
        failed = HeadraceError(said["error"])
        failed.exit_code = code  # type: ignore[assignment]
        raise failed
    if code == INTERRUPTED:
        typer.echo(f"stopped: {later}", err=True)
    raise typer.Exit(code if code > 0 else 1)


async def _run(
    module: str, job_file: Path, settings: ServiceSettings, heard: Callable[[Mapping[str, Any]], None]
) -> tuple[int, dict[str, Any]]:
    process, said = JobProcess(module, job_file, environment(settings)), dict[str, Any]()

    def on_line(line: Mapping[str, Any]) -> None:
        said.update({name: line[name] for name in ("summary", "error") if name in line})
        heard(line)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, process.stop)
    return await process.run(on_line), said
