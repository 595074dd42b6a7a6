"""`headrace datasets list | show | rows | profile | export`: what there is."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from headrace.cli.connect import RunOption, storage
from headrace.cli.views.datasets import manifest_view, profile_table, rows_table, sets_table
from headrace.cli.views.formats import counted, table_console

app = typer.Typer()
SetArgument = Annotated[str, typer.Argument(help="`name@version`, or `name` for the newest version", metavar="SET")]
JsonOption = Annotated[bool, typer.Option("--json", help="for programs")]


@app.command("list")
def list_(run: RunOption = None, *, as_json: JsonOption = False) -> None:
    """All sets: their newest version, its rows, where it comes from."""
    from headrace.datasets.opening import open_catalogue

    catalogue = open_catalogue(storage(run))
    found = [(catalogue.manifest(name), catalogue.versions(name)) for name in catalogue.names()]
    if as_json:
        typer.echo(_json([{**newest.shown(), "versions": versions} for newest, versions in found]))
    elif found:
        table_console().print(sets_table(found))
    else:
        typer.echo(f"no set in {catalogue.store.name}")


@app.command()
def show(name: SetArgument, run: RunOption = None, *, as_json: JsonOption = False) -> None:
    """One version: its columns, source, parents, files with digests."""
    from headrace.datasets.opening import open_catalogue

    catalogue = open_catalogue(storage(run))
    manifest = catalogue.manifest(name)
    if as_json:
        typer.echo(_json(manifest.shown()))
    else:
        manifest_view(manifest, catalogue.versions(manifest.name), table_console())


@app.command()
def rows(
    name: SetArgument,
    *,
    offset: Annotated[int, typer.Option(min=0, help="rows to pass over")] = 0,
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="rows to show")] = 20,
    run: RunOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="an object a line")] = False,
) -> None:
    """Show some rows."""
    from headrace.datasets.opening import open_catalogue
    from headrace.datasets.using.opened import OpenSet

    opened = OpenSet.of(open_catalogue(storage(run)), name)
    found = opened.rows(offset, number)
    if as_json:
        typer.echo(msgspec.json.Encoder().encode_lines(found).decode(), nl=False)
    else:
        table_console().print(rows_table(opened.schema.names, found))


@app.command()
def profile(
    name: SetArgument,
    *,
    against: Annotated[str, typer.Option(help="measure drift against this set")] = "",
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Describe each column: missing values, distribution, frequent values; and drift against another set.

    For example:

      headrace datasets profile rides@4 --against rides@3
    """
    from headrace.datasets.opening import open_catalogue
    from headrace.datasets.profiling.profile import profile_of

    console = Console(stderr=True, highlight=False)
    with console.status("counting ...") as status:
        found = profile_of(
            open_catalogue(storage(run)), name, against, lambda done, of: status.update(f"column {done + 1} of {of}")
        )
    if as_json:
        typer.echo(_json(msgspec.to_builtins(found)))
    else:
        table_console().print(profile_table(found))


@app.command()
def export(
    name: SetArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="y.parquet, y.csv or y.jsonl")],
    run: RunOption = None,
) -> None:
    """Write a version into one file; it is there whole or not at all."""
    from headrace.datasets.exporting import export as write
    from headrace.datasets.opening import open_catalogue
    from headrace.datasets.using.opened import OpenSet

    opened = OpenSet.of(open_catalogue(storage(run)), name)
    count = write(opened, output)
    typer.echo(f"{counted(count, 'row')} of {opened.manifest.set}: {output}")


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
