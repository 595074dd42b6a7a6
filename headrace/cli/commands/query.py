"""`headrace query "select …"`: SQL over a run's archive."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.archives import archive_of
from headrace.cli.connect import RunOption


class Form(StrEnum):
    """How the rows are shown."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def query(  # noqa: PLR0917 - typer passes them by name
    sql: Annotated[
        str, typer.Argument(help="one select; `tables` lists the tables and their columns", show_default=False)
    ],
    form: Annotated[Form, typer.Option("--format", help="how the rows are shown")] = Form.TABLE,
    limit: Annotated[int, typer.Option(min=1, help="most rows that are shown")] = 1000,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="write all rows into a file: .parquet, .csv or .json", show_default=False),
    ] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="most seconds")] = 60.0,
    memory_mb: Annotated[int, typer.Option("--memory", min=16, help="most MiB")] = 1024,
    pipeline: Annotated[
        str | None, typer.Option(help="whose archive; default the run's pipeline", show_default=False)
    ] = None,
    storage: Annotated[Path | None, typer.Option(help="shared storage; default the run's", show_default=False)] = None,
    run: RunOption = None,
) -> None:
    """Ask in SQL what the archive keeps. Nothing is changed, and the run need not be up.

    The tables are events, predictions, shadows, labels, examples and metrics, and outputs, in which each prediction has
    its event and its label.

    For example:

      headrace query tables

      headrace query "select version, avg(abs(prediction - label.minutes)) from outputs group by version"

      headrace query "select * from events where zone = 12" -o zone12.parquet
    """
    from headrace.archive.queries.running import QueryLimits, ask
    from headrace.archive.queries.tables import describe_tables
    from headrace.cli.views import rows

    root, name = archive_of(run, pipeline, storage)
    if sql.strip() == "tables":
        rows.show_tables(describe_tables(root, name))
        return
    limits = QueryLimits(None if output else limit, timeout_s, memory_mb)
    answer = ask(root, name, sql, limits)
    if output is not None:
        rows.write(answer, output)
        typer.echo(f"{answer.table.num_rows:,} rows to {output}", err=True)
    else:
        sys.stdout.write(rows.text(answer, form))
        if answer.is_cut:
            typer.echo(f"there are more rows: --limit {limit} showed the first", err=True)
