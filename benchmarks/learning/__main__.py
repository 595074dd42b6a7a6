"""Run the benchmark: the year through the whole system, its rivals, a drift, and the trainer's speed."""

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.learning import rides
from benchmarks.learning.flights import serve_the_year
from benchmarks.learning.freshness import freshness
from benchmarks.learning.memory import from_memory
from benchmarks.learning.rivals import data
from headrace.platform import LocalPlatform
from headrace.runtime.settings import ServiceSettings, load

OUT = Path("build/bench/learning.json")
PLOT = Path("build/bench/learning-flights.png")
DATA = Path("build/bench/learning-flights.npz")
RIVALS = Path("build/peers/learning/bin/python")
SCRIPTS = Path(__file__).parent / "rivals"
DAY = 86400.0
RATES = (1_000.0, 20_000.0)
OURS, TREES = "as served", "monthly trees"

ByMonth = dict[str, dict[int, float]]


def flights(tell: Console, *, full: bool) -> tuple[ByMonth, dict[str, Any]]:
    """Errors by month of ours, as served, and of the rivals; and how the year was replayed."""
    served = serve_the_year(DAY if full else 3 * DAY)
    tell.print(f"the year as served: {served.mean(2):.2f} minutes from February on, {served.seconds:.0f} s")
    data.write(DATA)
    done = subprocess.run([RIVALS, SCRIPTS / "run.py", DATA], capture_output=True, text=True, check=True)
    rivals = {name: {int(m): error for m, error in by.items()} for name, by in json.loads(done.stdout).items()}
    found = {OURS: served.months(), **rivals}
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([RIVALS, SCRIPTS / "plot.py", PLOT], input=json.dumps(found), text=True, check=True)
    counts = {month: count for month, (_, count) in served.by_month.items()}
    return found, {"speed": served.speed, "seconds": served.seconds, "counts": counts}


def mean(by_month: Mapping[int, float], counts: Mapping[int, int], first: int = 2) -> float:
    """The error over all flights from a month on."""
    months = [month for month in by_month if month >= first]
    return sum(by_month[m] * counts[m] for m in months) / sum(counts[m] for m in months)


def show(found: ByMonth, counts: Mapping[int, int], console: Console) -> None:
    """The table by month."""
    table = Table("mean absolute error, minutes", *(str(month) for month in range(1, 13)), "from February on")
    for name, by_month in found.items():
        cells = [f"{by_month[m]:.2f}" if m in by_month else "" for m in range(1, 13)]
        whole = f"{mean(by_month, counts):.2f}" if min(by_month) <= 2 else ""
        table.add_row(name, *cells, whole)
    console.print(table)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, prog="benchmarks.learning")
    parser.add_argument("--full", action="store_true", help="a day a second instead of three; more rounds")
    parser.add_argument("--only", choices=["flights", "rides", "memory", "freshness"], help="one part")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    console, figures, ratios = Console(width=140), dict[str, Any](), dict[str, float]()
    if options.only in (None, "memory"):
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
            platform = LocalPlatform(Path(folder))
            try:
                servers = platform.start().kafka_bootstrap_servers
                settings = load(ServiceSettings, "headrace", ["--kafka-bootstrap-servers", servers])
                figures["from_memory"] = from_memory(settings, 120_000 if options.full else 40_000, 3)
            finally:
                platform.stop()
        ratios["from_memory"] = figures["from_memory"]["ratio"]
        console.print(
            "trainer, examples/s: {kafka:,.0f} from Kafka, {memory:,.0f} from memory".format(**figures["from_memory"])
        )
    if options.only in (None, "rides"):
        figures["rides"] = rides.recovery()
        console.print("rides: {recovery_labels:,.0f} labels until recovered".format(**figures["rides"]))
    if options.only in (None, "freshness"):
        figures["freshness"] = [freshness(rate, 60.0 if options.full else 20.0) for rate in RATES]
        for found in figures["freshness"]:
            line = "freshness at {rate:,.0f} events/s ({labels_s:,.0f} labels/s): p50 {p50:.2f} s, p99 {p99:.2f} s"
            console.print(line.format(**found))
    if options.only in (None, "flights"):
        found, how = flights(console, full=options.full)
        show(found, how["counts"], console)
        figures["flights"] = {**how, "by_month": found}
        ratios["monthly_trees"] = mean(found[OURS], how["counts"]) / mean(found[TREES], how["counts"])
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"figures": figures, "ratios": ratios}, indent=2))
    console.print(f"ratios: {ratios}; {OUT}, {PLOT}")


if __name__ == "__main__":
    main()
