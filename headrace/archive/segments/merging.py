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


@dataclass(frozen=True)
class Plan:
    """When segments are merged: `fan_in` neighbours of about one size, until they have `target` bytes."""

    target: int
    fan_in: int = 8


def runs_to_merge(segments: Sequence[Segment], sizes: Sequence[int], plan: Plan) -> list[Sequence[Segment]]:
    """Neighbouring segments that are to become one, oldest first; each segment is in one run at most.

    A segment belongs to a level by its size, each level `fan_in` times the one below. So a record is written again a
    few times, by the number of levels, not once for each merge.
    """
    runs, start = list[Sequence[Segment]](), 0
    while start < len(segments):
        end = _run_end(segments, sizes, start, plan)
        if end - start >= plan.fan_in:
            runs.append(segments[start:end])
        start = max(end, start + 1)
    return runs


def _run_end(segments: Sequence[Segment], sizes: Sequence[int], start: int, plan: Plan) -> int:
    """Where the run of neighbours ends that begins at `start`: those of its level or below, up to the target."""
    limit, total, end = _level(sizes[start], plan), 0, start
    while end < len(segments) and end - start < _MOST:
        is_next = end == start or segments[end - 1].next == segments[end].first
        same_partition = segments[start].partition == segments[end].partition
        if not (is_next and same_partition) or sizes[end] >= plan.target or _level(sizes[end], plan) > limit:
            break
        if total + sizes[end] > plan.target and end > start:
            break
        total, end = total + sizes[end], end + 1
    return end


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
    listing, merged = list_segments(folder), 0
    for partition in listing.ends:
        segments = listing.of(partition)
        sizes = [one.path.stat().st_size for one in segments]
        for run in runs_to_merge(segments, sizes, plan):
            merged += _merge(folder, run, order, step)
    return merged


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
