"""`headrace produce`: a pipeline's own source, or CSV and JSON-lines files, to its topics."""

import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.cli.connect import KafkaOption, RunOption, connect
from headrace.contracts import topics
from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.model.source import BadRow, Item
from headrace.replay.files import read_files
from headrace.replay.pace import Pace, at_once, by_event_time, by_rate
from headrace.replay.producing import QUEUE, Counts, KafkaOutlet, Producing, looped, options_of
from headrace.replay.resuming import after, produced
from headrace.runtime import kafka as clients
from headrace.runtime.errors import ConfigError

# Failures alone are reported, so that a record in order costs no callback.
PRODUCER = {
    "queue.buffering.max.messages": 2 * QUEUE,
    "queue.buffering.max.kbytes": 1_048_576,
    "delivery.report.only.error": True,
}


def produce(
    folder: Annotated[Path, typer.Argument(help="the pipeline's folder")],
    *,
    source: Annotated[bool, typer.Option("--source", help="replay the pipeline's own source: the default")] = False,
    events: Annotated[Path | None, typer.Option(help="CSV or JSON-lines file of events")] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV or JSON-lines file of labels")] = None,
    time_field: Annotated[
        str | None, typer.Option(help="the files' field that holds the time, to merge and pace by")
    ] = None,
    speed: Annotated[float | None, typer.Option(help="event-time seconds in one second")] = None,
    rate: Annotated[float | None, typer.Option(help="events a second")] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="stop after this many events")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="start the source again at its end, for ever")] = False,
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
    """
    pipeline = load_pipeline(folder)
    pace = _pace(speed, rate, paced_files=time_field is not None or not (events or labels))
    files = events is not None or labels is not None
    if files and (source or loop or option):
        raise ConfigError(
            "--source, --loop and --option go with the pipeline's own source, --events and --labels with files"
        )
    if files:
        model = pipeline.model
        items: Iterable[Item] = read_files(events, labels, (model.event_type(), model.label_type()), time_field)
    else:
        items = _own_source(pipeline, option or [], loop=loop)
    settings = connect(run_dir, kafka)
    clients.ensure_topics(settings, pipeline.topics)
    names = {"events": topics.EVENTS.name(pipeline.name), "labels": topics.LABELS.name(pipeline.name)}
    if resume:
        items = after(items, pipeline.model.key_of, produced(settings, names))
    outlet = KafkaOutlet(clients.producer(settings, **PRODUCER), names)
    producing = Producing(outlet, pipeline.model.key_of, pace, limit, strict=strict, on_bad_row=_show)
    _report(*_timed(producing, items), stopped=producing.stopped)


def _pace(speed: float | None, rate: float | None, *, paced_files: bool) -> Pace:
    if speed is not None and rate is not None:
        raise ConfigError("--speed and --rate exclude each other")
    for flag, value in (("--speed", speed), ("--rate", rate)):
        if value is not None and value <= 0:
            raise ConfigError(f"{flag} {value:g}: must be above 0")
    if speed is not None and not paced_files:
        raise ConfigError("--speed needs the time of each row", hint="name its field: --time-field FIELD")
    if speed is not None:
        return by_event_time(speed)
    return at_once if rate is None else by_rate(rate)


def _own_source(pipeline: Pipeline, given: list[str], *, loop: bool) -> Iterable[Item]:
    own = pipeline.source()
    options = options_of(own, given)
    if loop:
        return looped(lambda: own.replay(**options), pipeline.model.key)
    return own.replay(**options)


def _timed(producing: Producing, items: Iterable[Item]) -> tuple[Counts, float]:
    """Run to the end, or until SIGTERM or SIGINT; what was taken by then is still flushed."""

    def stop(*_: Any) -> None:
        producing.stopped = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    started = time.monotonic()
    try:
        return producing.run(items), time.monotonic() - started
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(row: BadRow) -> None:
    typer.echo(f"skipped {row}", err=True)


def _report(counts: Counts, seconds: float, *, stopped: bool) -> None:
    how = "stopped: " if stopped else ""
    rate = f"{counts.events / seconds:,.0f} events/s" if seconds else ""
    typer.echo(
        f"{how}produced {counts.events:,} events and {counts.labels:,} labels in {seconds:.1f} s ({rate}), all acknowledged"
    )
    if counts.skipped:
        typer.echo(f"{counts.skipped:,} bad rows skipped", err=True)
    if counts.behind_s > 1:
        typer.echo(
            f"up to {counts.behind_s:.1f} s behind schedule: the source or Kafka is slower than asked for", err=True
        )
