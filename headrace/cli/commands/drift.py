"""`headrace drift show | reset | reference`: how far a stream is from its reference."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import typer

from headrace.cli.connect import RunOption
from headrace.cli.files import DelimiterOption, EncodingOption
from headrace.cli.views.drift import column_page, drift_page
from headrace.cli.views.formats import counted, table_console
from headrace.launch.run_file import folder_of
from headrace.runtime import http
from headrace.runtime.endpoints import find
from headrace.runtime.errors import ConfigError, DataError, DependencyError

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

Url = Annotated[
    str, typer.Option("--url", help="REST address of the role drift (default: the run's)", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="for programs")]
SHOWN_BAD_ROWS = 10


@app.callback()
def drift() -> None:
    """How far a pipeline's events, predictions and errors are from what is usual.

    For example:

      headrace drift show

      headrace drift show distance_km

      headrace drift reset --column distance_km
    """


@app.command()
def show(
    column: Annotated[str, typer.Argument(help="one column, with its distribution then and now")] = "",
    *,
    run: RunOption = None,
    url: Url = "",
    as_json: Json = False,
) -> None:
    """Show every watched column: its distances from the reference, its limits and its state.

    A column is [bold]learning[/] its reference, or [bold]steady[/], or [bold]drifted[/]. It is [bold]unsteady[/] where
    the windows of its reference differ so much that windows cannot be compared, and an [bold]identifier[/] where its
    values name things. Moved is the Wasserstein distance, in standard deviations of the reference.

    For example:

      headrace drift show

      headrace drift show --json | jq '.columns[] | select(.state == "drifted") | .column'
    """
    found = _asked(_url(run, url), "/v1/drift")
    if column:
        its = [one for one in found["columns"] if one["column"] == column]
        if not its:
            known = ", ".join(dict.fromkeys(one["column"] for one in found["columns"]))
            raise ConfigError(f"no column {column!r} is watched", hint=f"there are: {known}")
        found = {**found, "columns": its}
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    for part in column_page(found["columns"]) if column else drift_page(found):
        table_console().print(part)


@app.command()
def reset(
    *,
    column: Annotated[
        list[str] | None, typer.Option(help="a column, `mean` or `error`; repeatable (default: everything)")
    ] = None,
    run: RunOption = None,
    url: Url = "",
) -> None:
    """Take references anew: what the stream is like from now on is what is usual. Alerts about them end.

    For example:

      headrace drift reset --column surge --column pace
    """
    body = msgspec.json.encode({"columns": column})
    done = _asked(_url(run, url), "/v1/drift/reset", body)["columns"]
    typer.echo(f"{counted(len(done), 'reference')} taken anew: {', '.join(done)}")


@app.command()
def reference(
    folder: Annotated[Path, typer.Argument(help="the pipeline's folder", metavar="PIPELINE")],
    *,
    input_: Annotated[
        Path, typer.Option("--input", "-i", help="Parquet, CSV or JSON lines of events, in the order of time")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="the reference, a JSON file")],
    limit: Annotated[int, typer.Option(min=2000, help="events that are read at most")] = 1_000_000,
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
) -> None:
    """Make a reference of a data set, for `drift.reference.file` in pipeline.yaml.

    Limits are measured by comparing windows of the data set with the rest of it. So a data set of whole days or weeks,
    in the order of time, makes limits above what the time of day does. Rows that do not fit the event are named and
    left out.

    For example:

      headrace drift reference examples/rides --input rides.parquet --output examples/rides/reference.json
    """
    from headrace.drift.reference import learn
    from headrace.drift.reference_file import write_reference
    from headrace.drift.schema import Reader
    from headrace.model.pipeline import load_pipeline
    from headrace.replay.text import FileFormat

    pipeline = load_pipeline(folder)
    spec, model = pipeline.spec.drift, pipeline.model
    reader = Reader(model.event_type(), (model.key, *spec.ignore), spec.categories)
    if input_.suffix.lower() in {".parquet", ".pq"}:
        from headrace.drift.parquet import parquet_columns

        columns, events = parquet_columns(input_, reader.specs, limit)
    else:
        types = (model.event_type(), model.label_type())
        columns, events = _columns(reader, _events(input_, types, FileFormat.of(delimiter, encoding)), limit)
    if events < spec.reference.events // 10 or events < spec.windows[0] * 2:
        raise DataError(
            f"{input_}: {counted(events, 'event')}: too few for a reference", hint="some thousands at least"
        )
    made = {
        one.name: learn(one, values, spec.limits, len(columns))
        for one, values in zip(reader.specs, columns, strict=True)
    }
    write_reference(output, made, events, str(input_))
    states = [reference.state for reference in made.values()]
    typer.echo(
        f"{output}: {counted(len(made), 'column')} of {counted(events, 'event')}: {states.count('steady')} steady, "
        f"{states.count('unsteady')} unsteady, {states.count('identifier')} identifiers"
    )


def _events(path: Path, types: tuple[type[Any], type[Any]], form: Any) -> Iterator[bytes]:
    """The events of a text file as JSON; bad rows are named."""
    from headrace.model.source import BadRow
    from headrace.replay.files import read_files

    bad = 0
    for item in read_files(path, None, types, None, form):
        if isinstance(item, BadRow):
            bad += 1
            if bad <= SHOWN_BAD_ROWS:
                typer.echo(f"headrace: {item}", err=True)
        else:
            yield msgspec.json.encode(item.value)
    if bad > SHOWN_BAD_ROWS:
        typer.echo(f"headrace: {counted(bad, 'bad row')} in all", err=True)


def _columns(reader: Any, events: Iterator[bytes], limit: int) -> tuple[list[Any], int]:
    import numpy as np

    parts: list[list[Any]] = []
    count = 0
    batch: list[bytes] = []
    for event in events:
        batch.append(event)
        count += 1
        if len(batch) == 10_000 or count == limit:
            parts.append(reader.read(batch)[0])
            batch = []
        if count == limit:
            break
    if batch:
        parts.append(reader.read(batch)[0])
    return [np.concatenate(column) for column in zip(*parts, strict=True)], count


def _url(run: str | None, url: str) -> str:
    """The REST address of the role drift.

    Raises:
        ConfigError: none is known.
    """
    if url:
        return url.rstrip("/")
    folder = folder_of(run)
    addresses = find(folder, "drift", "rest") if folder else []
    if not addresses:
        raise ConfigError("no role drift is running here", hint="headrace up starts one; or name it with --url")
    return addresses[-1]


def _asked(url: str, path: str, body: bytes | None = None) -> Any:
    status, answer = http.request(url + quote(path), body, timeout=60.0)
    try:
        found = msgspec.json.decode(answer)
    except msgspec.DecodeError as error:
        raise DependencyError(f"{url}{path} answered {status} without JSON", hint="is it the role drift?") from error
    if status >= 400:
        raise DependencyError(str(found.get("error", status)))
    return found
