"""The tables of an archive as views of DuckDB, over the segments that count at one moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.archive.fields.pipeline import kept_fields
from headrace.archive.folder import HOURS, MINUTES, listings
from headrace.archive.series.coverage import SAMPLES, Footers, tiers_for
from headrace.archive.series.keeping import Piece
from headrace.archive.series.samples import MetricsTable, folded_columns
from headrace.archive.tables import META, Table, name_of, pipeline_tables
from headrace.contracts import topics
from headrace.runtime.errors import ConfigError

OUTPUTS = "outputs"
_EVER = 1 << 53  # ms since the epoch
_KINDS = {
    "int64": "bigint", "int32": "integer", "double": "double", "bool": "boolean", "string": "varchar",
    "binary": "blob", "timestamp[ms]": "timestamp", "timestamp[us]": "timestamp",
}  # fmt: skip

# An event is named by partition and offset, so it is exactly the one predicted; of a key's labels the newest counts.
_OUTPUTS = """
create view outputs as
select p.key, p.prediction, p.model, p.version, p.checkpoint, p.event_at, p.predicted_at, e.event, t.label, t.label_at,
       p._partition, p._offset, p._at
from predictions p
left join (select {event} as event, _partition as part, _offset as place from events) e
       on e.part = p.event_partition and e.place = p.event_offset
left join (select _key as name, arg_max({label}, _at) as label, max(_at) as label_at
           from labels where _problem is null group by _key) t
       on t.name = p._key
"""
_ONE_EACH = "* exclude (_partition, _offset), value as low, value as high, value as last, 1::bigint as count"


@dataclass(frozen=True)
class View:
    """A view: the files that it reads, and the SQL that makes it."""

    name: str
    files: tuple[Path, ...]
    sql: str


def views_of(root: Path, pipeline: str) -> list[View]:
    """The views of a pipeline's archive, in an order in which they can be made.

    Raises:
        ConfigError: there is no archive in that folder.
        FileNotFoundError: a file has gone meanwhile: ask again.
    """
    fields = kept_fields(root)
    if fields is None:
        raise ConfigError(f"there is no archive at {root}", hint="the role `archive` makes it; headrace up starts it")
    tables = pipeline_tables(pipeline, fields)
    whole = {table.name: _whole(table) for table in tables}
    outputs = _OUTPUTS.format(event=whole[name_of(topics.EVENTS)], label=whole[name_of(topics.LABELS)])
    views = [_record_view(root, table) for table in tables]
    return [*views, View(OUTPUTS, (), outputs), _metrics_view(root, MetricsTable.name)]


def _whole(table: Table) -> str:
    """The record's own fields as one value."""
    own = [name for name in table.columns().names if name not in META]
    return "{" + ", ".join(f"{quoted(name)}: {_name(name)}" for name in own) + "}" if own else "null"


def _record_view(root: Path, table: Table) -> View:
    files = tuple(one.path for listing in listings(root, table.name) for one in listing.current)
    body = _nothing(table.columns())  # columns that no segment has yet are there too
    body += f" union all by name from {_parquet(files)}" if files else ""
    return View(table.name, files, f"create view {table.name} as {body}")


def _metrics_view(root: Path, name: str) -> View:
    """Samples as long as they are kept, before that minutes, before that hours; `step_s` says which."""
    tiers = tiers_for(root, (0, _EVER), 0, Footers())
    samples = tiers[SAMPLES]
    parts = [_part(piece, step) for tier, step in ((HOURS, 3600), (MINUTES, 60)) for piece in tiers[tier]]
    if samples:
        since = min(piece.start for piece in samples)
        taken = _parquet([piece.path for piece in samples])
        parts.append(_selected(f"{_ONE_EACH}, 0 as step_s", taken, f"taken_at >= make_timestamp_ms({since})"))
    files = tuple(piece.path for pieces in tiers.values() for piece in pieces)
    body = " union all by name ".join(parts) if parts else f"{_nothing(folded_columns(), 'step_s')}"
    return View(name, files, f"create view {name} as {body}")


def _part(piece: Piece, step: int) -> str:
    bounds = f"taken_at >= make_timestamp_ms({piece.start}) and taken_at < make_timestamp_ms({piece.end})"
    return _selected(f"*, {step} as step_s", _parquet([piece.path]), bounds)


def _selected(columns: str, table: str, condition: str) -> str:
    return f"select {columns} from {table} where {condition}"  # noqa: S608 - of our own files and numbers


def _parquet(files: Sequence[Path]) -> str:
    """Files of different releases together: a column that one lacks is null there."""
    return f"read_parquet([{', '.join(map(quoted, files))}], union_by_name = true)"


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def quoted(path: Path | str) -> str:
    """As a text in SQL."""
    return "'" + str(path).replace("'", "''") + "'"


def _nothing(schema: Any, *further: str) -> str:
    """A query without rows that has these columns."""
    columns = [f"null::{_sql_type(one.type)} as {_name(one.name)}" for one in schema]
    return f"select {', '.join([*columns, *(f'0 as {name}' for name in further)])} where false"


def _sql_type(kind: Any) -> str:
    import pyarrow as pa

    if pa.types.is_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        fields = ", ".join(f"{_name(one.name)} {_sql_type(one.type)}" for one in kind.fields)
        return f"struct({fields})"
    return _KINDS[str(kind)]
