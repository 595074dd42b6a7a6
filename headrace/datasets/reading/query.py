"""A query over other sets, by DuckDB, which sees the named sets' files and nothing else.

Sets are named as tables: `rides` is the newest version, `"rides@3"` that one. File and network access, extensions and
settings are locked before the query is looked at; it must be one SELECT; memory and threads are bounded, and what does
not fit goes to the import's own folder.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from headrace.datasets.errors import BadInput
from headrace.datasets.reading.port import BATCH_ROWS, Facts, Read
from headrace.datasets.using.opened import OpenSet

MEMORY = "1GB"
THREADS = 2
_MOST_SPILLED = "50GB"


def connection(files: Mapping[str, list[Path]], spill: Path | None, memory: str = MEMORY) -> Any:
    """A DuckDB connection that has these files as views and can reach nothing else.

    Without `spill`, what does not fit into memory fails.
    """
    import duckdb

    made = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": memory, "threads": THREADS, "autoinstall_known_extensions": False,
            "autoload_known_extensions": False, "python_enable_replacements": False,
            "temp_directory": str(spill) if spill else "", "max_temp_directory_size": _MOST_SPILLED if spill else "0B",
        },
    )  # fmt: skip
    allowed = ", ".join(_quoted(path) for paths in files.values() for path in paths)
    made.execute(f"SET allowed_paths = [{allowed}]")
    made.execute("SET enable_external_access = false")
    made.execute("SET lock_configuration = true")
    for name, paths in files.items():
        made.read_parquet([str(path) for path in paths]).create_view(name)
    return made


def _quoted(path: Path) -> str:
    text = str(path).replace("'", "''")
    return f"'{text}'"


def tables_of(query: str) -> list[str]:
    """The tables that a query reads, without those that it makes itself.

    Raises:
        BadInput: it is not one SELECT.
    """
    import duckdb

    with duckdb.connect(":memory:") as parser:
        try:
            statements = parser.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise BadInput("expected one SELECT", hint='select ... from a_set join "other@3" using (key)')
            parsed = parser.execute("select json_serialize_sql(?)", [query]).fetchone()
        except duckdb.Error as error:
            raise BadInput(f"the query cannot be read: {error}") from error
    tree: dict[str, Any] = msgspec.json.decode(str(parsed[0]) if parsed else "{}")
    if tree.get("error"):
        raise BadInput(f"the query cannot be read: {tree.get('error_message')}")
    found, own = dict[str, None](), set[str]()
    _walk(tree["statements"], found, own)
    return [name for name in found if name not in own]


def _walk(node: Any, found: dict[str, None], own: set[str]) -> None:
    if isinstance(node, list):
        for part in node:
            _walk(part, found, own)
    elif isinstance(node, dict):
        if node.get("type") == "BASE_TABLE" and not node.get("schema_name"):
            found[str(node["table_name"])] = None
        own.update(str(one["key"]) for one in (node.get("cte_map") or {}).get("map", []))
        for part in node.values():
            _walk(part, found, own)


class QueryTable:
    """What a query gives. See `headrace.datasets.reading.port.Input`.

    Args:
        query: one SELECT.
        sets: what its tables are.
        work: a folder for what does not fit into memory.
        memory: that DuckDB takes at most.

    Raises:
        BadInput: the query is refused.
    """

    def __init__(self, query: str, sets: Mapping[str, OpenSet], work: Path, memory: str = MEMORY) -> None:
        import duckdb

        self._refusals = (duckdb.Error, pa.ArrowException)
        self._connection = connection({name: one.paths() for name, one in sets.items()}, work / "spill", memory)
        try:
            self._reader = self._connection.sql(query).to_arrow_reader(BATCH_ROWS)
        except self._refusals as error:
            raise BadInput(f"the query cannot be run: {error}") from error
        names = self._reader.schema.names
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise BadInput(f"the query has two columns {', '.join(doubled)}", hint="select ... as another_name")
        self.schema = pa.schema([pa.field(f.name, _kept_type(f.type)) for f in self._reader.schema])
        parents = {name: one.manifest.set for name, one in sets.items()}
        digests = {one.manifest.set: one.manifest.digest for one in sets.values()}
        details = {"query": query, "tables": parents, "digests": digests}
        self.facts = Facts(details=details, parents=sorted(digests))
        self.total = 0

    def interrupt(self) -> None:
        """End the query; safe in another thread."""
        self._connection.interrupt()

    def read(self) -> Iterator[Read]:
        """See `Input.read`."""
        before = 0
        try:
            for batch in self._reader:
                columns = [column.cast(f.type) for column, f in zip(batch.columns, self.schema, strict=True)]

                def place(i: int, before: int = before) -> str:
                    return f"the query's row {before + i + 1}"

                yield Read(pa.RecordBatch.from_arrays(columns, schema=self.schema), place)
                before += batch.num_rows
        except self._refusals as error:
            raise BadInput(f"the query failed: {error}") from error
        finally:
            self._connection.close()


def _kept_type(kind: pa.DataType) -> pa.DataType:
    """As Parquet files of other sources have it."""
    of = pa.types
    if of.is_dictionary(kind):
        return _kept_type(kind.value_type)
    if of.is_null(kind) or of.is_large_string(kind) or of.is_string_view(kind):
        return pa.string()
    return pa.timestamp("us", "UTC") if of.is_timestamp(kind) and kind.tz else kind
