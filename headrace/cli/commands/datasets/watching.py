"""`headrace datasets watch`: a folder whose files become versions as they arrive."""

import signal
import threading
import uuid
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.commands.datasets.importing import clear_abandoned
from headrace.cli.commands.datasets.making import AsOption, BadOption, MetaOption, PipelineOption, made, pairs
from headrace.cli.connect import KafkaOption, RunOption, connect_to_stores
from headrace.runtime.errors import HeadraceError

app = typer.Typer()


@app.command()
def watch(
    folder: Annotated[Path, typer.Argument(help="the folder to watch", exists=True, file_okay=False)],
    *,
    as_: AsOption = "",
    pipeline: PipelineOption = None,
    meta: MetaOption = None,
    max_bad_rows: BadOption = 0,
    every: Annotated[float, typer.Option(min=0.05, help="seconds between two looks")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="end when all files that are there were imported")] = False,
    kafka: KafkaOption = None,
    run: RunOption = None,
) -> None:
    """Import each file that is put into a folder, until Ctrl-C: rides.csv, or rides/*.csv, are versions of `rides`.

    Imported files are moved to imported/, others to refused/, with the reason beside them.

    For example:

      headrace datasets watch inbox --meta source=sensors
    """
    from headrace.datasets.importing.job import Files, ImportJob
    from headrace.datasets.importing.run import run_import
    from headrace.datasets.importing.telling import Silent
    from headrace.datasets.opening import open_access
    from headrace.datasets.watched import WatchedFolder
    from headrace.jobs.child import Stopped

    settings, stop = connect_to_stores(run, kafka), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    access, watched = open_access(settings), WatchedFolder(folder.resolve())
    root = settings.storage_folder / "importing"
    looks = 0
    while not stop.is_set():
        clear_abandoned(root)
        arrived = watched.arrived()
        for one in arrived:
            job_id = uuid.uuid5(uuid.NAMESPACE_URL, one.key).hex  # the same file makes one version, whoever dies when
            job = made(
                ImportJob, id=job_id, name=one.name, folder=str(root / job_id), source=Files([str(one.path)]),
                holds=as_, pipeline=str(pipeline.resolve()) if pipeline else "", metadata=pairs("--meta", meta),
                max_bad_rows=max_bad_rows,
            )  # fmt: skip
            try:
                summary = run_import(job, access, Silent(), stop)
            except Stopped:
                return
            except HeadraceError as error:
                typer.echo(f"{one.path.name}: {error} -> {watched.refused(one.path, str(error))}", err=True)
                continue
            watched.imported(one.path)
            typer.echo(f"{one.path.name}: {', '.join(summary.sets)}, {sum(summary.rows.values()):,} rows")
        looks += 1
        if once and looks > 1 and not arrived:
            return
        stop.wait(every)
