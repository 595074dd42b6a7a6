"""Run the benchmark: a broker of its own, a backlog, the contestants in turn, a table and a JSON file."""

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.stream.backlog import fill
from benchmarks.stream.latency import Latency, latency
from benchmarks.stream.measure import Figures, race
from headrace.model.pipeline import load_pipeline
from headrace.platform import LocalPlatform
from headrace.runtime.settings import ServiceSettings

CONTESTANTS = {"bare": "bare loop, same transactions", "ours": "Headrace stream"}
OUT = Path("build/bench/stream.json")


def main() -> int:
    """Measure and report; the exit code is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="1 M records, five rounds")
    parser.add_argument("--records", type=int, default=0, help="records in the backlog")
    parser.add_argument("--rounds", type=int, default=0, help="how often every contestant runs; figures are medians")
    parser.add_argument("--rates", type=float, nargs="*", default=[1000, 10_000], help="offered events/s for the latencies")
    parser.add_argument("--only", choices=CONTESTANTS, help="run one contestant")
    options = parser.parse_args()
    records = options.records or (1_000_000 if options.full else 300_000)
    rounds = options.rounds or (5 if options.full else 3)
    seconds = 20.0 if options.full else 8.0
    wanted = [options.only] if options.only else list(CONTESTANTS)
    with tempfile.TemporaryDirectory() as folder, LocalPlatform(Path(folder), env={}) as platform:
        servers = platform.endpoints.kafka_bootstrap_servers
        settings = ServiceSettings(kafka_bootstrap_servers=servers, run_dir=Path(folder)).for_role("bench")
        pipeline = load_pipeline(Path(__file__).parent / "task")
        fill(settings, pipeline, records)
        runs: dict[str, list[Figures]] = {name: [] for name in wanted}
        for n in range(rounds):  # in turn, so that a noisy minute hits all of them
            for name in wanted:
                runs[name].append(race(name, settings, pipeline, records, f"bench.{name}.{n}"))
        latencies = {
            name: [
                latency(name, settings, pipeline, rate=r, seconds=seconds, group=f"bench.{name}.rate") for r in options.rates
            ]
            for name in wanted
        }
    report(runs, latencies, records)
    return 0


def report(runs: dict[str, list[Figures]], latencies: dict[str, list[Latency]], records: int) -> None:
    """The table, and build/bench/stream.json."""
    figures = {name: _median(found) for name, found in runs.items()}
    ratios = {}
    if {"bare", "ours"} <= figures.keys():
        pairs = zip(runs["ours"], runs["bare"], strict=True)
        ratios["bare_loop"] = round(statistics.median(o.records_per_s / b.records_per_s for o, b in pairs), 3)
    table = Table(title=f"Backlog of {records:,} records, exactly once, one process")
    for column in ("", "records/s", "CPU µs/record", "RSS MiB", "first commit s"):
        table.add_column(column, justify="left" if not column else "right")
    for name, found in figures.items():
        table.add_row(
            CONTESTANTS[name], f"{found.records_per_s:,.0f}", f"{found.cpu_us_per_record:.2f}", f"{found.rss_mib:.0f}",
            f"{found.start_s:.1f}",
        )  # fmt: skip
    console = Console()
    console.print(table)
    console.print(_latency_table(latencies))
    for name, value in ratios.items():
        console.print(f"ours / {name}: {value:.2f}")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    found_ms = {n: [asdict(one) for one in found] for n, found in latencies.items()}
    measured = {n: {**f.as_dict(), "latency_ms": found_ms[n]} for n, f in figures.items()}
    OUT.write_text(json.dumps({"records": records, "figures": measured, "ratios": ratios}, indent=2))


def _latency_table(latencies: dict[str, list[Latency]]) -> Table:
    table = Table(title="Event produced to committed prediction read, ms")
    for column in ("", "events/s", "p50", "p99", "worst"):
        table.add_column(column, justify="right" if column else "left")
    for name, found in latencies.items():
        for one in found:
            table.add_row(CONTESTANTS[name], f"{one.rate:,.0f}", f"{one.p50:.0f}", f"{one.p99:.0f}", f"{one.worst:.0f}")
    return table


def _median(found: list[Figures]) -> Figures:
    columns = zip(*((f.records_per_s, f.cpu_us_per_record, f.rss_mib, f.start_s) for f in found), strict=True)
    return Figures(*(statistics.median(column) for column in columns))


if __name__ == "__main__":
    sys.exit(main())
