"""The metrics store over 90 days of minutes, and the archive's rows a second beside the same bytes written bare.

`python -m benchmarks.watching.queries` writes build/bench/watching-queries.json. The store has one value a minute of
200 series, kept as the archive keeps them: a file of each month that is over, and one of each day of the last. Queries
are timed by the clock, the archive by its processor time, in turns with a bare loop that parses the same lines by
pyarrow and writes them with the same compression, without checking, positions or fsync.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from headrace.archive.fields.types import Field, PipelineFields, arrow_type
from headrace.archive.folder import MINUTES
from headrace.archive.segments.manifest import Manifest
from headrace.archive.segments.writing import COMPRESSION, write_segment
from headrace.archive.series.days import DAY_MS, HOUR_MS, MINUTE_MS, DaysManifest, day_of, span_of, write_days
from headrace.archive.series.keeping import Folding
from headrace.archive.series.reading import MetricsReader, Selection, Window
from headrace.archive.series.samples import SERIES, folded_columns
from headrace.archive.tables import Records, pipeline_tables

DAYS, METRICS, PER_METRIC = 90, 50, 4
NOW_MS = 1_795_773_600_000  # 2026-11-27T10:00Z
GOAL_MS = 200.0
ROWS, ROUNDS = 200_000, 5


def day_of_minutes(day: int, random: np.random.Generator, metrics: int) -> Iterator[Any]:
    """The rows of a day, one metric after the other."""
    minutes = DAY_MS // MINUTE_MS
    at = pa.array(np.tile(np.arange(day, day + DAY_MS, MINUTE_MS), PER_METRIC), pa.timestamp("ms"))
    which = pa.array(np.repeat(np.arange(PER_METRIC), minutes))
    same = np.full(PER_METRIC * minutes, 6)
    for metric in range(metrics):
        values = random.random(PER_METRIC * minutes)
        labels = [json.dumps({"role": f"role-{i}"}) for i in range(PER_METRIC)]
        names = [
            [f"metric_{metric:03d}"] * PER_METRIC,
            ["rides"] * PER_METRIC,
            [0] * PER_METRIC,
            [""] * PER_METRIC,
            labels,
        ]
        series = {name: pa.array(some).take(which) for name, some in zip(SERIES, names, strict=True)}
        yield pa.table(
            {
                **series,
                "taken_at": at,
                "value": values,
                "low": values,
                "high": values + 1,
                "last": values,
                "count": same,
            }
        ).cast(folded_columns())


def make_store(root: Path, metrics: int) -> None:
    """90 days, as the archive would have made them."""
    random = np.random.default_rng(0)
    for day in range(day_of(NOW_MS) - DAYS * DAY_MS, day_of(NOW_MS), DAY_MS):
        span = span_of(root / MINUTES, day, day + DAY_MS)
        write_days(span, day_of_minutes(day, random, metrics), DaysManifest(MINUTE_MS, {day: {"id/0": 1}}))
    folding = Folding(root)
    folding.fold_days(NOW_MS)  # the hours
    folding.merge_months(NOW_MS)


def query_times(root: Path, rounds: int) -> dict[str, Any]:
    """Milliseconds of a query and its JSON: of a new reader; of the next ones the median, and of processor time."""
    window = {"minutes": MINUTE_MS, "hours": HOUR_MS}
    found: dict[str, Any] = {}
    for name, step in window.items():
        reader, selection = MetricsReader(root), Selection(["metric_001"], labels={"role": "role-2"})
        span = Window(NOW_MS - DAYS * DAY_MS, NOW_MS, step)
        taken, busy, points = list[float](), list[float](), 0
        for _ in range(rounds):
            started, before = time.perf_counter(), time.process_time()
            (series,) = reader.query(selection, span)
            orjson.dumps({"points": series.points})
            taken.append((time.perf_counter() - started) * 1000)
            busy.append((time.process_time() - before) * 1000)
            points = len(series.points)
        found[name] = {
            "points": points, "first_ms": round(taken[0], 1), "median_ms": round(median(taken[1:]), 1),
            "processor_ms": round(median(busy[1:]), 1),
        }  # fmt: skip
    return found


EVENT = tuple(
    Field(name, kind)  # type: ignore[arg-type]
    for name, kind in (
        ("ride_id", "string"), ("requested", "double"), ("zone", "int64"), ("destination", "int64"),
        ("distance_km", "double"), ("hour", "double"), ("weekday", "int64"), ("rain_mm", "double"),
        ("drivers", "int64"), ("surge", "double"), ("pace", "double"),
    )
)  # fmt: skip


def lines_of(rows: int) -> list[bytes]:
    """Events of a stream of rides, in JSON."""
    random = np.random.default_rng(1)
    columns = [random.random(rows).tolist() for _ in range(6)]
    return [
        orjson.dumps(
            {
                "ride_id": f"ride-{i:07d}", "requested": 1.79e9 + i, "zone": i % 64, "destination": i * 7 % 64,
                "distance_km": columns[0][i] * 20, "hour": columns[1][i] * 24, "weekday": i % 7,
                "rain_mm": columns[2][i], "drivers": i % 30, "surge": 1 + columns[3][i], "pace": 3 + columns[4][i],
            }
        )
        for i in range(rows)
    ]  # fmt: skip


def archive_rates(folder: Path, rows: int, rounds: int) -> dict[str, Any]:
    """Rows a second of processor time: the archive's path from records to a durable segment, and a bare loop's."""
    lines = lines_of(rows)
    known = PipelineFields("", EVENT, (), Field("prediction", "double"))
    table = pipeline_tables("bench", known)[0]
    encode, times = table.encoder(), [1_790_000_000_000] * rows
    keys: Sequence[bytes | None] = [f"ride-{i:07d}".encode() for i in range(rows)]
    schema = pa.schema([(field.name, arrow_type(field)) for field in EVENT])

    def ours(number: int) -> None:
        offsets = range(number * rows, number * rows + rows)
        made = encode(Records(0, offsets, times, keys, lines))
        manifest = Manifest(table.topic, "id", 0, offsets[0], offsets[-1] + 1, rows, made.from_ms, made.to_ms)
        write_segment(folder / "ours", made.table, manifest)

    def bare(number: int) -> None:
        text = b"\n".join(lines)
        reading = pyarrow.json.ReadOptions(use_threads=False, block_size=len(text) + 1)
        parsing = pyarrow.json.ParseOptions(explicit_schema=schema)
        made = pyarrow.json.read_json(pa.BufferReader(text), read_options=reading, parse_options=parsing)
        pq.write_table(made, folder / f"bare-{number}.parquet", **COMPRESSION)

    taken: dict[str, list[float]] = {"ours": [], "bare": []}
    for number in range(rounds):
        for name, work in (("ours", ours), ("bare", bare)):
            taken[name].append(_processor_s(work, number))
    rates = {name: rows / median(seconds) for name, seconds in taken.items()}
    return {
        "rows": rows, "bytes_a_row": round(sum(map(len, lines)) / rows), "rows_per_s": round(rates["ours"]),
        "bare_rows_per_s": round(rates["bare"]), "ratio": round(rates["ours"] / rates["bare"], 3),
    }  # fmt: skip


def _processor_s(work: Callable[[int], None], number: int) -> float:
    started = time.process_time()
    work(number)
    return time.process_time() - started


def run(out: Path, metrics: int = METRICS) -> dict[str, Any]:
    """The benchmark; its figures go to `out`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="headrace-bench-", dir=out.parent) as folder:
        make_store(Path(folder) / "store", metrics)
        queries = query_times(Path(folder) / "store", 21)
        rates = archive_rates(Path(folder), ROWS, ROUNDS)
    result = {
        "series": metrics * PER_METRIC, "days": DAYS, "cores": len(os.sched_getaffinity(0)), "queries": queries,
        "archive": rates, "goal": {"ms": GOAL_MS}, "reached": queries["minutes"]["median_ms"] <= GOAL_MS,
    }  # fmt: skip
    out.write_text(json.dumps(result, indent=2) + "\n")
    return result


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench/watching-queries.json"))
    parser.add_argument("--metrics", type=int, default=METRICS, help="of four series each")
    given = parser.parse_args()
    print(json.dumps(run(given.out, given.metrics), indent=2))


if __name__ == "__main__":
    main()
