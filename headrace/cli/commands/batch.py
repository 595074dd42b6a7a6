"""`headrace batch`: files of events to a file of predictions."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from headrace.cli.connect import KafkaOption, RunOption, connect_to_stores, opened_sets
from headrace.cli.files import DelimiterOption, EncodingOption
from headrace.cli.views.batch import ProgressView
from headrace.cli.views.formats import counted
from headrace.runtime.errors import ConfigError, ExitCode
from headrace.runtime.settings import ServiceSettings, load

INTERRUPTED = 130


def batch(
    folder: Annotated[Path, typer.Argument(help="the pipeline's folder", metavar="PIPELINE")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="y.parquet, y.csv or y.jsonl; text also as .gz")],
    input_: Annotated[
        list[str] | None, typer.Option("--input", "-i", help="a file, a folder or a 'pattern' of events; repeatable")
    ] = None,
    dataset: Annotated[str, typer.Option(help="a data set of events instead: `name@version`, or `name`")] = "",
    model: Annotated[str, typer.Option(help="a further model of the pipeline (default: its champion)")] = "",
    version: Annotated[
        int | None, typer.Option(min=1, help="of the weights (default: the newest that was published)")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="a safetensors file of weights, instead of a version")] = None,
    columns: Annotated[
        str | None, typer.Option(help="the input's columns to carry, a,b,c; the key always is (default: all)")
    ] = None,
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    workers: Annotated[int | None, typer.Option(min=1, help="processes (default: the cores)")] = None,
    engine: Annotated[str, typer.Option(help="local, or ray for Ray Data")] = "local",
    batch_rows: Annotated[int, typer.Option("--batch", min=1, help="rows in one forward pass")] = 4096,
    max_bad_rows: Annotated[
        int | None, typer.Option(min=0, help="end without an output if more rows are rejected")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an output that is there")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="throw away the work of an unfinished job")] = False,
    kafka: KafkaOption = None,
    run_dir: RunOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the summary for programs")] = False,
) -> None:
    """Predict files of events with one version of the weights.

    Input is Parquet, CSV or JSON lines. Parts of it are done by several processes. If the job is stopped or killed, the
    same command goes on where it was. The output is there whole or not at all.

    Rows that cannot be predicted are listed, with file, row, field and reason, in OUTPUT.rejected.jsonl. The exit code
    is then 5, unless --max-bad-rows allows as many.

    For example:

      headrace batch examples/rides --input rides.parquet --output minutes.parquet

      headrace batch examples/rides -i 'days/*.csv.gz' -o minutes.csv --version 12 --columns zone,distance_km

      headrace batch examples/rides --dataset rides@3 -o minutes.parquet

      headrace batch examples/rides -i rides.jsonl -o minutes.jsonl --weights rides.safetensors --max-bad-rows 10
    """
    from headrace.batch.job import Job
    from headrace.batch.run import as_dict, default_workers, run_batch
    from headrace.jobs.child import Stopped
    from headrace.replay.text import FileFormat

    if engine not in ("local", "ray"):
        raise ConfigError(f"--engine {engine}: expected local or ray")
    if weights is not None and version is not None:
        raise ConfigError("--weights and --version exclude each other")
    if bool(input_) == bool(dataset):
        raise ConfigError("predict what?", hint="--input FILE or --dataset NAME")
    opened = opened_sets([dataset] if dataset else [], run_dir)
    job = Job(
        pipeline=str(folder.resolve()),
        inputs=[os.path.abspath(given) for given in input_ or ()]  # noqa: PTH100 - a pattern is no path to resolve
        + [str(path.absolute()) for one in opened for path in one.paths()],
        dataset=opened[0].manifest.reference if opened else {},
        output=str(Path(os.path.abspath(output))),  # noqa: PTH100 - a link stays one
        model=model,
        version=version,
        weights=str(weights.resolve()) if weights else "",
        columns=None if columns is None else [name.strip() for name in columns.split(",") if name.strip()],
        form=FileFormat.of(delimiter, encoding),
        batch_rows=batch_rows,
        max_bad_rows=max_bad_rows,
        workers=workers or default_workers(),
        engine=engine,  # type: ignore[arg-type]
    )
    settings = load(ServiceSettings, "headrace") if weights is not None else connect_to_stores(run_dir, kafka)
    try:
        with ProgressView(Console(stderr=True, highlight=False)) as view, _stop_on_signals() as stop:
            summary = run_batch(job, settings, view, stop, overwrite=overwrite, restart=restart)
    except Stopped as stopped:
        typer.echo(f"{stopped.message}: {stopped.hint}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(as_dict(summary)), indent=2).decode())
    else:
        which = f"version {summary.version}" if summary.version else "weights from a file"
        rate = f" ({(summary.rows + summary.bad_rows - summary.resumed) / max(summary.seconds, 1e-6):,.0f} rows/s)"
        typer.echo(
            f"predicted {counted(summary.rows, 'row')} in {summary.seconds:.1f} s{rate} by {which} of {summary.model}, "
            f"checkpoint {summary.checkpoint}: {summary.output}"
        )
    if summary.bad_rows:
        typer.echo(f"{counted(summary.bad_rows, 'row')} rejected: {summary.rejected}", err=True)
        if max_bad_rows is None:
            raise typer.Exit(int(ExitCode.DATA))


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
