"""`headrace check`: is this pipeline folder one that the services can run?"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from headrace.cli.connect import RunOption, opened_sets
from headrace.cli.files import DatasetOption, DelimiterOption, EncodingOption
from headrace.runtime.errors import ConfigError, ExitCode
from headrace.runtime.secrets import clean

if TYPE_CHECKING:
    from headrace.model.pipeline import Pipeline
    from headrace.model.source import Item


def check(
    folder: Annotated[Path, typer.Argument(help="the pipeline's folder")] = Path(),
    *,
    events: Annotated[Path | None, typer.Option(help="try it on this CSV or JSON-lines file of events ...")] = None,
    labels: Annotated[Path | None, typer.Option(help="... with this file of labels, not on its own source")] = None,
    dataset: DatasetOption = None,
    run: RunOption = None,
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
) -> None:
    """Validate a pipeline folder and try its model on sample events: everything but Kafka.

    Every promise that the services rely on is one line, all of a further model's another. The first that is broken ends
    the check, with file, line and field where there are some, and exit code 2. Of files, the first 20,000 rows are
    read.

    For example:

      headrace check my-pipeline

      headrace check my-pipeline --events events.csv --labels labels.csv --delimiter ';'

      headrace check my-pipeline --dataset rides@3
    """
    from headrace.model.checks.run import check_folder
    from headrace.replay.files import read_files
    from headrace.replay.text import FileFormat

    form = FileFormat.of(delimiter, encoding)
    sets = opened_sets(dataset, run)
    if sets and (events or labels):
        raise ConfigError("--dataset and files exclude each other")
    if events is None and labels is None and form != FileFormat():
        raise ConfigError("--delimiter and --encoding are for files: name them by --events and --labels")

    def records(pipeline: "Pipeline") -> "Iterable[Item] | None":
        if sets:
            from headrace.datasets.using.records import records_of_sets

            return records_of_sets(pipeline, sets)
        types = pipeline.model.event_type(), pipeline.model.label_type()
        return read_files(events, labels, types, None, form) if events or labels else None

    console = Console(highlight=False, soft_wrap=True)
    ok = True
    for outcome in check_folder(folder, records):
        ok = ok and outcome.ok
        mark = "[green]✓[/]" if outcome.ok else "[bold red]✗[/]"
        console.print(f"{mark} {outcome.title:<20}", end=" ")
        console.print(clean(outcome.detail), markup=False)
    if not ok:
        raise typer.Exit(int(ExitCode.CONFIG))
    console.print(f"[green]{folder} is a pipeline that works.[/] Next: headrace up {folder} --replay")
