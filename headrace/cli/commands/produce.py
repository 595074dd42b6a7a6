"""`headrace produce`: a pipeline's own source, or CSV and JSON-lines files, to its topics."""

import signal
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.cli.connect import KafkaOption, RunOption, connect, opened_sets
from headrace.cli.files import DatasetOption, DelimiterOption, EncodingOption
from headrace.cli.views.formats import counted
from headrace.model.pipeline import load_pipeline
from headrace.model.source import BadRow
from headrace.replay.producing import SHOWN_BAD_ROWS, Counts
from headrace.replay.production import Production, Wanted
from headrace.replay.text import FileFormat
from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings


def produce(
    folder: Annotated[Path, typer.Argument(help="the pipeline's folder")],
    *,
    source: Annotated[bool, typer.Option("--source", help="replay the pipeline's own source: the default")] = False,
    events: Annotated[Path | None, typer.Option(help="CSV or JSON-lines file of events")] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV or JSON-lines file of labels")] = None,
    time_field: Annotated[
        str | None, typer.Option(help="the files' field that holds the time, to merge and pace by")
    ] = None,
    dataset: DatasetOption = None,
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    speed: Annotated[float | None, typer.Option(help="event-time seconds in one second")] = None,
    rate: Annotated[float | None, typer.Option(help="events a second")] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="stop after this many events")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="start the source again at its end, until stopped")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="pass over what an earlier run has produced already")
    ] = False,
    option: Annotated[list[str] | None, typer.Option(help="an option of the source, name=value; repeatable")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="stop at the first bad row")] = False,
    kafka: KafkaOption = None,
    run_dir: RunOption = None,
) -> None:
    """Produce a pipeline's events and labels to its topics.

    As fast as Kafka takes them, unless --speed or --rate paces them. Bad rows are named, skipped and counted. Ends when
    every record was acknowledged. With --resume, a replay that was stopped or killed goes on where it was.

    For example:

      headrace produce examples/flights --speed 86400

      headrace produce examples/rides --rate 2000 --option seed=7

      headrace produce mine --events events.csv --labels labels.csv --time-field at --speed 60

      headrace produce mine --events events.csv --delimiter ';' --encoding latin-1

      headrace produce examples/rides --dataset rides@3 --speed 60
    """
    pipeline = load_pipeline(folder)
    form = FileFormat.of(delimiter, encoding)
    wanted = Wanted(
        events, labels, form, time_field, option or [], loop, speed, rate, limit, resume, strict,
        opened_sets(dataset, run_dir),
    )  # fmt: skip
    _check_flags(wanted, own_source=source)
    production = Production(pipeline, wanted, on_bad_row=_show)
    _report(*_run(production, connect(run_dir, kafka)), stopped=production.stopped)


def _check_flags(wanted: Wanted, *, own_source: bool) -> None:
    if wanted.sets and (wanted.files or own_source or wanted.loop or wanted.options or wanted.form != FileFormat()):
        raise ConfigError("--dataset excludes files and the pipeline's own source, and their options")
    if wanted.files and (own_source or wanted.loop or wanted.options):
        raise ConfigError(
            "--source, --loop and --option go with the pipeline's own source, --events and --labels with files"
        )
    if not wanted.files and not wanted.sets and (wanted.time_field is not None or wanted.form != FileFormat()):
        raise ConfigError("--time-field, --delimiter and --encoding are for files: name them by --events and --labels")


def _run(production: Production, settings: ServiceSettings) -> tuple[Counts, float]:
    """Run to the end, or until SIGTERM or SIGINT; what was taken by then is still flushed."""

    def stop(*_: Any) -> None:
        production.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    started = time.monotonic()
    try:
        return production.run(settings), time.monotonic() - started
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(row: BadRow) -> None:
    typer.echo(f"skipped {row}", err=True)


def _report(counts: Counts, seconds: float, *, stopped: bool) -> None:
    how = "stopped: " if stopped else ""
    rate = f"{counts.events / seconds:,.0f} events/s" if seconds else ""
    made = f"{counted(counts.events, 'event')} and {counted(counts.labels, 'label')}"
    typer.echo(f"{how}produced {made} in {seconds:.1f} s ({rate}), all acknowledged")
    if counts.skipped:
        rest = f", the first {SHOWN_BAD_ROWS} shown above" if counts.skipped > SHOWN_BAD_ROWS else ""
        typer.echo(f"{counted(counts.skipped, 'bad row')} skipped{rest}; --strict stops at the first", err=True)
    if counts.behind_s > 1:
        typer.echo(
            f"up to {counts.behind_s:.1f} s behind schedule: the source or Kafka is slower than asked for", err=True
        )
