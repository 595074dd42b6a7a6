"""The profile of a set of 10 million rows: seconds and memory, in a process of its own, each file verified first.

`python -m benchmarks.watching.profile [--rows N]` writes build/bench/watching-profile.json. The rows are those of a
stream of rides: keys, times, numbers with a long tail, missing values, categories, and a number of great range.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.datasets.announcing import MemoryAnnouncer
from headrace.datasets.catalogue import Catalogue
from headrace.datasets.manifest import Manifest, Source
from headrace.datasets.profiling.profile import SetProfile, profile_of
from headrace.datasets.storing.folder import FolderStore
from headrace.datasets.writing.parquet import SetWriter
from headrace.datasets.writing.version import Draft, make_version

ROWS = 10_000_000
GOAL_S, GOAL_BYTES = 20.0, 2 << 30
_BATCH = 200_000
_CITIES = np.array([f"city-{i:03d}" for i in range(300)])
_SCHEMA = pa.schema(
    [
        ("ride_id", pa.string()), ("at", pa.timestamp("us", "UTC")), ("zone", pa.int64()), ("city", pa.string()),
        ("distance_km", pa.float64()), ("minutes", pa.float64()), ("passengers", pa.int64()), ("raining", pa.bool_()),
        ("fare", pa.float64()), ("note", pa.string()),
    ]
)  # fmt: skip


def batches(rows: int, seed: int = 0) -> Iterator[pa.RecordBatch]:
    """Rides, the same for the same seed."""
    made = np.random.default_rng(seed)
    for start in range(0, rows, _BATCH):
        count = min(_BATCH, rows - start)
        number = np.arange(start, start + count)
        distance = made.lognormal(1.0, 0.8, count)
        city = _CITIES[np.minimum(made.zipf(1.4, count) - 1, 299)]
        missing = made.random(count) < 0.05
        at = pa.array(1_790_000_000_000_000 + number * 250_000).cast(pa.timestamp("us", "UTC"))
        columns = [
            pa.array(np.char.add("ride-", np.char.zfill(number.astype("U9"), 9))), at,
            pa.array(made.integers(1, 266, count)), pa.array(city), pa.array(distance),
            pa.array(distance * 3 + made.gamma(2.0, 2.0, count), mask=missing), pa.array(made.poisson(1.3, count)),
            pa.array(made.random(count) < 0.2), pa.array(made.lognormal(2.5, 2.0, count)),
            pa.array(np.where(missing, "late", None)),
        ]  # fmt: skip
        yield pa.record_batch(columns, schema=_SCHEMA)


def make_set(catalogue: Catalogue, name: str, rows: int, seed: int, work: Path) -> Manifest:
    """A version of that many rows."""
    work.mkdir(parents=True)
    writer = SetWriter(work, _SCHEMA)
    for batch in batches(rows, seed):
        writer.write(batch)
    files = writer.finish()
    draft = Manifest(
        name=name, version=0, created_us=0, import_id=f"{name}-{seed}", source=Source(kind="file"),
        columns=writer.facts, rows=writer.rows, size=writer.size, files=[],
    )  # fmt: skip
    return make_version(catalogue, MemoryAnnouncer(), Draft(draft, files))


def measured(root: Path, name: str, against: str = "") -> dict[str, Any]:
    """Seconds and peak memory of a profile in a process of its own."""
    code = [sys.executable, "-m", "benchmarks.watching.profile", "--profile", str(root), name, against]
    started = time.monotonic()
    done = subprocess.run(code, capture_output=True, text=True, check=True)
    return {"seconds": round(time.monotonic() - started, 2), **json.loads(done.stdout)}


def child(root: str, name: str, against: str) -> None:
    """The process of `measured`."""
    profile: SetProfile = profile_of(Catalogue(FolderStore(Path(root))), name, against)
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = round(used.ru_utime + used.ru_stime, 2)
    print(
        json.dumps(
            {
                "peak_bytes": used.ru_maxrss * 1024,
                "cpu_seconds": seconds,
                "rows": profile.rows,
                "columns": len(profile.columns),
            }
        )
    )


def run(rows: int, out: Path) -> dict[str, Any]:
    """The benchmark; its figures go to `out`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="headrace-bench-", dir=out.parent) as folder:
        root = Path(folder)
        catalogue = Catalogue(FolderStore(root / "sets"))
        size = make_set(catalogue, "rides", rows, 0, root / "work-0").size
        make_set(catalogue, "rides", rows, 1, root / "work-1")
        profile = measured(root / "sets", "rides@1")
        drift = measured(root / "sets", "rides@2", "rides@1")
    result = {
        "rows": rows, "columns": len(_SCHEMA), "bytes": size, "cores": len(os.sched_getaffinity(0)),
        "profile": profile, "profile_and_drift": drift, "goal": {"seconds": GOAL_S, "peak_bytes": GOAL_BYTES},
        "reached": profile["seconds"] <= GOAL_S and profile["peak_bytes"] <= GOAL_BYTES,
    }  # fmt: skip
    out.write_text(json.dumps(result, indent=2) + "\n")
    return result


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--out", type=Path, default=Path("build/bench/watching-profile.json"))
    parser.add_argument("--profile", nargs=3, metavar=("ROOT", "NAME", "AGAINST"))
    given = parser.parse_args()
    if given.profile:
        child(*given.profile)
    else:
        print(json.dumps(run(given.rows, given.out), indent=2))


if __name__ == "__main__":
    main()
