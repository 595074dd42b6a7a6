"""`headrace metrics`: the time series that the archive keeps."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.archives import archive_of
from headrace.cli.connect import RunOption

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", add_completion=False)


@app.callback()
def metrics() -> None:
    """Metrics over time, as the archive keeps them: errors, latency, lag, by model and version. The run need not be up.

    For example:

      headrace metrics names

      headrace metrics series error --from -1h
    """


MetricArgument = Annotated[list[str], typer.Argument(help="metrics, by name", show_default=False)]
FromOption = Annotated[str, typer.Option("--from", help="ISO 8601, seconds since the epoch, or -1h for an hour ago")]
ToOption = Annotated[str | None, typer.Option("--to", help="the same; default now", show_default=False)]
StepOption = Annotated[
    str | None, typer.Option(help="10s, 1m, 1h; default one with 500 points at most", show_default=False)
]
ModelOption = Annotated[str | None, typer.Option(help="only of this model", show_default=False)]
VersionOption = Annotated[int | None, typer.Option(help="only of this version", show_default=False)]
SliceOption = Annotated[str | None, typer.Option("--slice", help="only of this slice", show_default=False)]
LabelOption = Annotated[
    list[str] | None, typer.Option("--label", help="only with this label: name=value", show_default=False)
]
AggregationOption = Annotated[str, typer.Option(help="of a step: avg, min, max, last, count or sum")]
PipelineOption = Annotated[
    str | None, typer.Option(help="whose archive; default the run's pipeline", show_default=False)
]
StorageOption = Annotated[Path | None, typer.Option(help="shared storage; default the run's", show_default=False)]


@app.command()
def names(
    start: FromOption = "-1h",
    to: ToOption = None,
    pipeline: PipelineOption = None,
    storage: StorageOption = None,
    run: RunOption = None,
) -> None:
    """The metrics that there are, and how many series each has."""
    from headrace.archive.series.reading import MetricsReader, window_of
    from headrace.cli.views import time_series

    root, _ = archive_of(run, pipeline, storage)
    time_series.show_names(MetricsReader(root).names(window_of(start, to, None)))


@app.command()
def series(  # noqa: PLR0917 - typer passes them by name
    metric: MetricArgument,
    start: FromOption = "-1h",
    to: ToOption = None,
    step: StepOption = None,
    aggregation: AggregationOption = "avg",
    model: ModelOption = None,
    version: VersionOption = None,
    part: SliceOption = None,
    label: LabelOption = None,
    pipeline: PipelineOption = None,
    storage: StorageOption = None,
    run: RunOption = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a series, with all its points")] = False,
) -> None:
    """Each series of some metrics: its course, and its lowest, mean, highest and last value.

    For example:

      headrace metrics series error --from -1h

      headrace metrics series latency_seconds_p99 --from -7d --step 1h --aggregation max --json
    """
    from headrace.archive.series.reading import MetricsReader, Selection, aggregation_named, labels_of_text, window_of
    from headrace.cli.views import time_series

    root, _ = archive_of(run, pipeline, storage)
    selection = Selection(metric, model, version, part, labels_of_text(",".join(label or ())))
    found = MetricsReader(root).query(selection, window_of(start, to, step), aggregation_named(aggregation))
    time_series.show_series(found, as_json=as_json)


@app.command()
def export(  # noqa: PLR0917 - typer passes them by name
    metric: MetricArgument,
    start: FromOption = "-1h",
    to: ToOption = None,
    step: StepOption = None,
    aggregation: AggregationOption = "avg",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="a .csv or .parquet file; default CSV on standard output")
    ] = None,
    pipeline: PipelineOption = None,
    storage: StorageOption = None,
    run: RunOption = None,
) -> None:
    """The points of some metrics as rows: time, metric, model, version, slice, labels, value.

    For example:

      headrace metrics export error --from -30d --step 1h -o error.parquet
    """
    from headrace.archive.series.reading import MetricsReader, Selection, aggregation_named, window_of
    from headrace.cli.views import rows, time_series

    root, _ = archive_of(run, pipeline, storage)
    window, kind = window_of(start, to, step), aggregation_named(aggregation)
    answer = time_series.as_rows(MetricsReader(root).query(Selection(metric), window, kind))
    if output is None:
        sys.stdout.write(rows.text(answer, "csv"))
    else:
        rows.write(answer, output)
        typer.echo(f"{answer.table.num_rows:,} points to {output}", err=True)
