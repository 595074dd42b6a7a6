"""Merging small segments into larger ones.

A merged segment is durable before those that it replaces are removed, and they stay for a while: a reader that lists
the folder at any moment finds every record, and counts it once (`listing.arranged`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.archive.segments.listing import Segment, list_segments, path_of
from headrace.archive.segments.manifest import Manifest, read_manifest
from headrace.archive.segments.writing import COMPRESSION, Step, ignore, place

ROW_GROUP = 1 << 17
_MOST = 64  # segments in one merge
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Plan:
    """When segments are merged: `fan_in` neighbours of one size and day, until they have about `target` bytes."""

    target: int
    fan_in: int = 8


@dataclass(frozen=True)
class Candidate:
    """A segment that may be merged: its size in bytes, and the day (UTC) on which its records begin."""

    segment: Segment
    size: int
    day: int


def runs_to_merge(found: Sequence[Candidate], plan: Plan) -> list[list[Segment]]:
    """Neighbouring segments that are to become one, oldest first; each segment is in one run at most.

    A segment belongs to a level by its size, each level `fan_in` times the one below. So a record is written again a
    few times, by the number of levels, not once for each merge. Segments of different days stay apart, so that age can
    remove them.
    """
    runs, start = list[list[Segment]](), 0
    while start < len(found):
        end = _run_end(found, start, plan)
        if end - start >= plan.fan_in:
            runs.append([one.segment for one in found[start:end]])
        start = max(end, start + 1)
    return runs


def _run_end(found: Sequence[Candidate], start: int, plan: Plan) -> int:
    """Where the run of neighbours ends that begins at `start`: those of its level or below, up to the target."""
    limit, total, end = _level(found[start].size, plan), 0, start
    while end < len(found) and end - start < _MOST:
        one = found[end]
        if end > start and not (_is_next(found[end - 1], one) and total + one.size <= plan.target):
            break
        if one.size >= plan.target or _level(one.size, plan) > limit:
            break
        total, end = total + one.size, end + 1
    return end


def _is_next(one: Candidate, other: Candidate) -> bool:
    same = one.day == other.day and one.segment.partition == other.segment.partition
    return same and one.segment.next == other.segment.first


def _level(size: int, plan: Plan) -> int:
    level, bound = 0, plan.target
    while size < bound:
        bound //= plan.fan_in
        level -= 1
        if not bound:
            break
    return level


def merge_folder(folder: Path, plan: Plan, order: Sequence[tuple[str, str]] = (), step: Step = ignore) -> int:
    """Merge what is due in a folder; returns how many segments became fewer. Only the lock's holder may.

    Args:
        folder: of the segments of one topic.
        plan: when segments are merged.
        order: columns, with "ascending", that the rows of merged segments are sorted by; else they stay as they are.
        step: is told of each durable step.

    Raises:
        OSError: the storage refuses.
    """
    found = [_candidate(one, plan) for one in list_segments(folder).current]
    return sum(_merge(folder, run, order, step) for run in runs_to_merge(found, plan))


def _candidate(segment: Segment, plan: Plan) -> Candidate:
    size = segment.path.stat().st_size
    return Candidate(segment, size, -1 if size >= plan.target else read_manifest(segment.path).from_ms // _DAY_MS)


def _merge(folder: Path, run: Sequence[Segment], order: Sequence[tuple[str, str]], step: Step) -> int:
    import pyarrow.parquet as pq

    manifests = [read_manifest(one.path) for one in run]
    schema = _unified(run)
    if schema is None:
        return 0
    first = manifests[0]
    made = Manifest(
        first.topic, first.topic_id, first.partition, run[0].first, run[-1].next,
        sum(one.rows for one in manifests), min(one.from_ms for one in manifests), max(one.to_ms for one in manifests),
        sum(one.merged for one in manifests),
    )  # fmt: skip

    def fill(file: Any) -> None:
        with pq.ParquetWriter(file, schema.with_metadata(made.metadata()), **COMPRESSION) as writer:
            for table in _tables(run, schema, order):
                writer.write_table(table.replace_schema_metadata(made.metadata()), row_group_size=ROW_GROUP)

    place(path_of(folder, made.partition, made.first, made.next), fill, step)
    return len(run)


def _unified(run: Sequence[Segment]) -> Any:
    """A schema that has the columns of all; None if a column's types do not go together."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schemas = [pq.read_schema(one.path, memory_map=False).remove_metadata() for one in run]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return None


def _tables(run: Sequence[Segment], schema: Any, order: Sequence[tuple[str, str]]) -> Iterable[Any]:
    """The rows of all, in tables large enough for a row group; in one table where they are to be sorted."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    waiting, rows = list[Any](), 0
    for one in run:
        file = pq.ParquetFile(one.path, memory_map=False)
        for group in range(file.num_row_groups):
            waiting.append(_fitted(file.read_row_group(group), schema))
            rows += waiting[-1].num_rows
            if rows >= ROW_GROUP and not order:
                yield pa.concat_tables(waiting)
                waiting, rows = [], 0
    if waiting:
        table = pa.concat_tables(waiting)
        yield table.sort_by(list(order)) if order else table


def _fitted(table: Any, schema: Any) -> Any:
    """The table with the schema's columns: those that it lacks are null."""
    import pyarrow as pa

    columns = [
        table[one.name].cast(one.type) if one.name in table.column_names else pa.nulls(table.num_rows, one.type)
        for one in schema
    ]
    return pa.table(columns, schema=schema)
