"""Asking an archive in SQL: DuckDB in memory over the segments, confined to them.

A query reads the segments that count when it begins. It is one SELECT, it cannot reach another file or an address, and
it has so much memory, time and rows.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.archive.queries.checking import QueryError, QueryTimeoutError, QueryTooLargeError, check
from headrace.archive.queries.views import View, quoted, views_of

_TRIES = 5


@dataclass(frozen=True)
class QueryLimits:
    """What a query may have. `rows` of None are all."""

    rows: int | None = 10_000
    seconds: float = 30.0
    memory_mb: int = 512
    threads: int = 2


@dataclass(frozen=True)
class Answer:
    """An Arrow table, and whether there were more rows than it has."""

    table: Any
    is_cut: bool


def ask(root: Path, pipeline: str, sql: str, limits: QueryLimits | None = None) -> Answer:
    """The answer of a query over a pipeline's archive.

    Raises:
        QueryError: the SQL is wrong or not allowed, took too long, or needed too much memory.
        ConfigError: there is no archive in that folder.
    """
    import duckdb

    limits = limits or QueryLimits()
    for left in reversed(range(_TRIES)):
        try:
            with opened(root, pipeline, limits) as connection:
                check(connection, sql)
                return _answer(connection, sql, limits)
        except (FileNotFoundError, duckdb.IOException) as error:
            if not left:  # each time a file went meanwhile, as merging and removing do
                raise QueryError(f"files of the archive cannot be read: {error}") from error
    raise AssertionError


def describe(root: Path, pipeline: str) -> dict[str, list[dict[str, str]]]:
    """The columns of each table, as {"name", "type"}."""
    with opened(root, pipeline, QueryLimits()) as connection:
        found = connection.execute(
            "select table_name, column_name, data_type from information_schema.columns "
            "order by table_name, ordinal_position"
        ).fetchall()
    tables: dict[str, list[dict[str, str]]] = {}
    for table, column, kind in found:
        tables.setdefault(table, []).append({"name": column, "type": kind})
    return tables


@contextmanager
def opened(root: Path, pipeline: str, limits: QueryLimits) -> Iterator[Any]:
    """A DuckDB connection with the archive's tables, that can reach nothing else.

    Raises:
        ConfigError: there is no archive in that folder.
        FileNotFoundError: a file has gone meanwhile: ask again.
    """
    import duckdb

    connection = duckdb.connect(
        config={
            "threads": limits.threads,
            "memory_limit": f"{limits.memory_mb}MiB",
            "max_temp_directory_size": "0B",
        }
    )
    try:
        _confine(connection, views_of(root, pipeline))
        yield connection
    finally:
        connection.close()


def _confine(connection: Any, views: list[View]) -> None:
    for view in views:
        connection.execute(view.sql)
    allowed = sorted({path for view in views for path in view.files})
    connection.execute(f"set allowed_paths = [{', '.join(map(quoted, allowed))}]")
    connection.execute("set python_enable_replacements = false")  # else a query could name our own variables
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def _answer(connection: Any, sql: str, limits: QueryLimits) -> Answer:
    import duckdb

    overdue = threading.Event()

    def interrupt() -> None:
        overdue.set()
        connection.interrupt()

    timer = threading.Timer(limits.seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        return _fetched(connection.sql(sql), limits.rows)
    except duckdb.InterruptException as error:
        raise QueryTimeoutError(f"the query took more than {limits.seconds:g} s") from error
    except duckdb.OutOfMemoryException as error:
        raise QueryTooLargeError(f"the query needs more than {limits.memory_mb} MiB") from error
    except duckdb.IOException:
        raise
    except duckdb.Error as error:
        raise QueryError(_without_paths(str(error).strip())) from error
    finally:
        timer.cancel()


def _fetched(result: Any, most: int | None) -> Answer:
    import pyarrow as pa

    reader = result.to_arrow_reader(10_000)
    batches, rows = list[Any](), 0
    for batch in reader:
        batches.append(batch)
        rows += batch.num_rows
        if most is not None and rows > most:
            break
    table = pa.Table.from_batches(batches, reader.schema)
    return Answer(table if most is None else table.slice(0, most), most is not None and rows > most)


def _without_paths(text: str) -> str:
    """An error of DuckDB without the SQL of our views, which names every file."""
    return re.sub(r"read_parquet\(\[[^\]]*\]", "read_parquet([...]", text)
