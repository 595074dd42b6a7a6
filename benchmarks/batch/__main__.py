"""Run the benchmark: the ride-hailing pipeline over one Parquet file; a table and build/bench/batch.json.

Each round measures the bare loop and the job one after the other, in fresh processes, and their ratio; the figure is
the median of the rounds' ratios. `1 process` is one thread against one thread. `N processes` is the job with a process
a core, started within the measurement, against the same single bare loop.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from headrace.batch.job import PART_ROWS, Job
from headrace.model.pipeline import load_pipeline

OUT = Path("build/bench/batch.json")
PIPELINE = Path(__file__).parents[2] / "examples" / "rides"


def write_rides(path: Path, rows: int) -> None:
    """A file of rides, in row groups of a part's size."""
    chance = np.random.default_rng(1)
    table = pa.table(
        {
            "ride_id": [f"ride-{i}" for i in range(rows)],
            "requested": chance.uniform(1e9, 2e9, rows),
            "zone": chance.integers(0, 64, rows),
            "destination": chance.integers(0, 64, rows),
            "distance_km": chance.uniform(0.5, 30, rows),
            "hour": chance.uniform(0, 24, rows),
            "weekday": chance.integers(0, 7, rows),
            "rain_mm": chance.uniform(0, 5, rows),
            "drivers": chance.integers(0, 50, rows),
            "surge": chance.uniform(1, 3, rows),
            "pace": chance.uniform(1, 5, rows),
        }
    )
    pq.write_table(table, path, row_group_size=PART_ROWS)


def measure(which: str, job: Job, folder: Path) -> tuple[float, float]:
    """Seconds, and CPU seconds, of one run in a process of its own."""
    for left in folder.glob("*y.parquet*"):
        left.unlink()
    path = folder / "job.json"
    path.write_bytes(msgspec.json.encode(job))
    command = [sys.executable, "-m", "benchmarks.batch.once", which, str(path)]
    wall, cpu = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(wall), float(cpu)


def rounds(job: Job, folder: Path, rows: int, count: int) -> dict[str, Any]:
    """The figures of one form of the job: rows a second, and the ratio."""
    pairs = [(measure("bare", job, folder), measure("ours", job, folder)) for _ in range(count)]
    ratios = [bare[0] / ours[0] for bare, ours in pairs]
    return {
        "bare_rows_s": round(rows / statistics.median(bare[0] for bare, _ in pairs)),
        "batch_rows_s": round(rows / statistics.median(ours[0] for _, ours in pairs)),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
        "cpu_ratio": round(statistics.median(bare[1] / ours[1] for bare, ours in pairs), 3),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch")
    parser.add_argument("--full", action="store_true", help="more rows and more rounds")
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=0)
    options = parser.parse_args()
    rows = options.rows or (16_000_000 if options.full else 4_000_000)
    count = options.rounds or (9 if options.full else 5)
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        write_rides(folder / "x.parquet", rows)
        torch.manual_seed(1)
        save_file(load_pipeline(PIPELINE).model.network().state_dict(), folder / "weights.safetensors")
        job = Job(
            pipeline=str(PIPELINE), inputs=[str(folder / "x.parquet")], output=str(folder / "y.parquet"),
            weights=str(folder / "weights.safetensors"), workers=1,
        )  # fmt: skip
        figures = {"1 process": rounds(job, folder, rows, count)}
        if cores > 1:
            several = msgspec.structs.replace(job, workers=cores)
            figures[f"{cores} processes"] = rounds(several, folder, rows, count)
    report(figures, rows, count, cores)


def report(figures: dict[str, dict[str, Any]], rows: int, count: int, cores: int) -> None:
    """A table, and the JSON."""
    table = Table(
        "batch",
        "bare loop, rows/s",
        "headrace batch, rows/s",
        "ratio",
        "of rounds",
        "of CPU time",
        title=f"{rows:,} rides",
    )
    for name, one in figures.items():
        spread = f"{one['ratio_min']} to {one['ratio_max']}"
        table.add_row(
            name,
            f"{one['bare_rows_s']:,}",
            f"{one['batch_rows_s']:,}",
            f"{one['ratio']}",
            spread,
            f"{one['cpu_ratio']}",
        )
    console = Console(width=110)
    console.print(table)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    ratios = {"batch": figures["1 process"]["ratio"]}
    body = {"figures": figures, "ratios": ratios, "rows": rows, "rounds": count, "cores": cores}
    OUT.write_text(json.dumps(body, indent=2) + "\n")


if __name__ == "__main__":
    main()
