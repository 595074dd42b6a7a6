"""Running an import in this process: progress, Ctrl-C, and the folders that imports which died have left."""

import fcntl
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from headrace.cli.views.datasets import ImportView
from headrace.runtime.settings import ServiceSettings

if TYPE_CHECKING:
    from headrace.datasets.importing.job import ImportJob, Summary

INTERRUPTED = 130


def run_here(job: "ImportJob", settings: ServiceSettings, rejected: Path | None) -> "Summary":
    """Do an import; the rows that do not fit are shown, and written to `rejected` where that is asked for.

    Raises:
        HeadraceError: it failed.
        typer.Exit: it was stopped.
    """
    from headrace.datasets.importing.run import run_import
    from headrace.datasets.opening import open_access
    from headrace.jobs.child import Stopped

    clear_abandoned(job.path.parent)
    try:
        with ImportView(Console(stderr=True, highlight=False)) as view, _stop_on_signals() as stop:
            return run_import(job, open_access(settings), view, stop)
    except Stopped as stopped:
        typer.echo(f"{stopped.message}: {stopped.hint}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        if rejected is not None and job.rejected.exists():
            shutil.copyfile(job.rejected, rejected)
        shutil.rmtree(job.path, ignore_errors=True)


def clear_abandoned(root: Path) -> None:
    """Remove the folders of imports whose process is gone: nobody holds their lock."""
    for folder in root.iterdir() if root.is_dir() else ():
        with suppress(OSError), (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    stop = threading.Event()

    def handle(*_: Any) -> None:
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
