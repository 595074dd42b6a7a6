"""`headrace experiments`: training jobs that were tracked, side by side."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Column, Table

from headrace.cli.views.formats import duration, number, table_console
from headrace.model.spec_file import load_spec
from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings, load
from headrace.tracking.runs import Tracked, history_of, runs_of
from headrace.tracking.store import LOCAL, address


def experiments(
    folder: Annotated[Path, typer.Argument(help="the pipeline's folder", metavar="PIPELINE")],
    *,
    track: Annotated[str, typer.Option(help="where runs are kept: local, or the URL of an MLflow server")] = LOCAL,
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="newest runs")] = 20,
    plot: Annotated[Path | None, typer.Option(help="draw them into this PNG")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Compare the training jobs of a pipeline that were tracked (`headrace train --track`), the newest first.

    Validation and test are mean errors on those parts. Settings are shown where they differ between the runs.

    For example:

      headrace experiments examples/rides --plot build/runs.png
    """
    name = load_spec(folder).name
    uri = address(track, tracking_folder(load(ServiceSettings, "headrace")))
    runs = runs_of(uri, name)[:last]
    if not runs:
        raise ConfigError(f"no run of {name} was tracked", hint="headrace train ... --track local")
    if plot is not None:
        _draw(uri, runs, plot)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(runs), indent=2).decode())
    else:
        table_console().print(_table(runs))


def tracking_folder(settings: ServiceSettings) -> Path:
    """Where `local` keeps its database and files."""
    return settings.storage_folder / "tracking"


def _table(runs: list[Tracked]) -> Table:
    names = sorted({name for run in runs for name in run.settings})
    differ = [name for name in names if len({run.settings.get(name) for run in runs}) > 1]
    heads = ("run", "began", "took", "validation", "test", "version", *differ)
    table = Table(*(Column(head, no_wrap=True) for head in heads), box=None, pad_edge=False)
    for run in runs:
        began = datetime.fromtimestamp(run.started_ms / 1000).astimezone().strftime("%m-%d %H:%M")
        settings = [run.settings.get(name, "-") for name in differ]
        errors = (number(run.validation), number(run.test))
        table.add_row(run.name, began, duration(run.seconds), *errors, str(run.version or "-"), *settings)
    return table


def _draw(uri: str, runs: list[Tracked], path: Path) -> None:
    from headrace.tracking.plots import draw

    names = {run.id: f"{run.name} {run.id[:4]}" for run in runs}
    histories = {names[run.id]: history_of(uri, run.id, "epoch.validation") for run in runs}
    tests = {names[run.id]: run.test for run in runs if run.test is not None}
    draw({name: history for name, history in histories.items() if history}, tests, path)
