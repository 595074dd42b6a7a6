"""Rows of a query, as text and in files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from headrace.archive.queries.answers import as_objects, csv_bytes, parquet_bytes, plain_rows
from headrace.archive.queries.running import Answer
from headrace.cli.views.formats import table_console
from headrace.runtime.errors import ConfigError
from headrace.runtime.files import synced


def text(answer: Answer, form: str) -> str:
    """The rows as JSON (an object a line), CSV or a table for people."""
    if form == "json":
        return "".join(msgspec.json.encode(row).decode() + "\n" for row in as_objects(answer.table))
    if form == "csv":
        return csv_bytes(answer.table).decode()
    table = Table()
    for column in answer.table.schema:
        number = str(column.type).startswith(("int", "uint", "double", "float", "decimal"))
        table.add_column(column.name, justify="right" if number else "left")
    for row in plain_rows(answer.table):
        table.add_row(*map(_cell, row))
    return _drawn(table)


def write(answer: Answer, path: Path) -> None:
    """The rows into a file, whole or not at all.

    Raises:
        ConfigError: its name ends with no format that there is, or it cannot be written.
    """
    made = {
        ".parquet": lambda: parquet_bytes(answer.table),
        ".csv": lambda: csv_bytes(answer.table),
        ".json": lambda: text(answer, "json").encode(),
    }.get(path.suffix)
    if made is None:
        raise ConfigError(f"{path}: a format is chosen by .parquet, .csv or .json")
    try:
        with synced(path) as file:
            file.write(made())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint="--output FILE") from error


def show_tables(tables: Sequence[dict[str, Any]]) -> None:
    """The tables of an archive, and their columns."""
    table = Table()
    for name in ("table", "rows", "MB", "segments", "newest", "columns"):
        table.add_column(name, justify="right" if name in {"rows", "MB", "segments"} else "left")
    for one in tables:
        columns = ", ".join(f"{column['name']} {column['type'].lower()}" for column in one["columns"])
        known = "rows" in one
        table.add_row(
            one["name"],
            f"{one['rows']:,}" if known else "",
            f"{one['bytes'] / 1e6:,.1f}" if known else "",
            str(one["segments"]) if known else "",
            one.get("to", ""),
            columns,
        )
    table_console().print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return msgspec.json.encode(value).decode() if isinstance(value, list | dict) else str(value)


def _drawn(table: Table) -> str:
    console = table_console()
    with console.capture() as capture:
        console.print(table)
    return capture.get()
