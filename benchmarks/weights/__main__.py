"""Run the benchmark: a Kafka and a Redis of its own, transfers, rollouts, tables and a JSON file."""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.weights import peers
from benchmarks.weights.delta import Deltas, deltas
from benchmarks.weights.rollout import Rollouts, rollout
from benchmarks.weights.transfer import Transfer, transfer
from headrace.platform import LocalPlatform
from headrace.runtime.settings import ServiceSettings

OUT = Path("build/bench/weights.json")
MB, GIB = 1_000_000, 1 << 30
SMALL_ROWS, LARGE_ROWS = 64, 400_000  # an MLP of 50 kB, and one with an embedding of 100 MB


def main() -> int:
    """Measure and report; the exit code is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="1 GiB too, more rounds, swaps of a 100 MB model")
    parser.add_argument("--versions", type=int, default=0, help="versions rolled out [100, 500 in the long form]")
    parser.add_argument("--rate", type=float, default=400.0, help="requests/s offered to each of the two workers")
    options = parser.parse_args()
    versions = options.versions or (500 if options.full else 100)
    sizes = {"1 MB": (MB, 40), "100 MB": (100 * MB, 15 if options.full else 7)}
    if options.full:
        sizes["1 GiB"] = (GIB, 5)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, LocalPlatform(Path(folder), env={}) as platform:
        settings = ServiceSettings(
            kafka_bootstrap_servers=platform.endpoints.kafka_bootstrap_servers,
            redis_url=platform.endpoints.redis_url,
            run_dir=Path(folder),
            storage_dir=Path(folder) / "storage",
        ).for_role("bench")
        transfers = {name: transfer(platform.endpoints.redis_url, size, rounds) for name, (size, rounds) in sizes.items()}
        sparse = deltas(platform.endpoints.redis_url, LARGE_ROWS, 5)
        rollouts = {"small": rollout(settings, "small", rows=SMALL_ROWS, versions=versions, every_s=0.2, rate=options.rate)}
        if options.full:
            rollouts["100 MB"] = rollout(settings, "large", rows=LARGE_ROWS, versions=20, every_s=1.5, rate=options.rate)
        fleets = peers.peers(settings)
    report(transfers, sparse, rollouts, fleets, load)
    return 0


def report(
    transfers: dict[str, Transfer], sparse: Deltas, rollouts: dict[str, Rollouts], fleets: list[peers.FleetTime], load: float
) -> None:
    """The tables, and build/bench/weights.json; ratios are of the largest transfer and of the small model."""
    console = Console(highlight=False)
    console.print(_transfer_table(transfers))
    console.print(_delta_table(sparse))
    console.print(_rollout_table(rollouts))
    console.print(peers.table(fleets))
    failed = sum(of.failed_requests for of in rollouts.values())
    console.print(f"failed requests: {failed}")
    small = rollouts["small"]
    ratios = {
        "raw_store_read": round(list(transfers.values())[-1].ratio, 3),
        "delta_bytes": round(sparse.share, 4),
        "p99_swap_over_steady": round(small.swaps.p99 / small.steady.p99, 3),
        **{f"peers_gain_{of.agents}": round(of.gain, 3) for of in fleets},
    }
    for name, value in ratios.items():
        console.print(f"{name}: {value:.3g}")
    if load > (os.cpu_count() or 1) / 2:
        console.print(
            f"[yellow]the machine was busy (load {load:.1f} before the start): latencies are those of its other work too[/]"
        )
    figures = {
        "load_before": round(load, 2),
        "failed_requests": failed,
        "event_to_serving_p50_ms": round(small.event_ms[0], 2),
        "event_to_serving_p99_ms": round(small.event_ms[1], 2),
        "transfers": {name: asdict(of) for name, of in transfers.items()},
        "delta": asdict(sparse),
        "rollouts": {name: asdict(of) for name, of in rollouts.items()},
        "fleets": [asdict(of) for of in fleets],
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"figures": figures, "ratios": ratios}, indent=2))


def _transfer_table(transfers: dict[str, Transfer]) -> Table:
    table = Table(title="Redis to shared memory touched before, GB/s")
    for column in ("", "agent's pull, verified", "raw, 1 connection", "raw, parallel", "ratio to the faster"):
        table.add_column(column, justify="right" if column else "left")
    for name, of in transfers.items():
        table.add_row(name, f"{of.ours:.2f}", f"{of.raw_one:.2f}", f"{of.raw_parallel:.2f}", f"{of.ratio:.2f}")
    return table


def _delta_table(of: Deltas) -> Table:
    table = Table(title=f"1 % of {of.rows:,} rows changed, {of.size / MB:.0f} MB: ms")
    for column in ("", "bytes that travel", "publish", "pull, build and verify"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("as a delta", f"{of.share:.2%}", f"{of.publish_ms:.0f}", f"{of.pull_ms:.0f}")
    table.add_row("in full", "100 %", f"{of.publish_full_ms:.0f}", f"{of.pull_full_ms:.0f}")
    return table


def _rollout_table(rollouts: dict[str, Rollouts]) -> Table:
    table = Table(title="Coordinator, agent, 2 workers: ms")
    for column in ("", "versions", "p50", "p99", "worst"):
        table.add_column(column, justify="right" if column else "left")
    for name, of in rollouts.items():
        p50, p99, worst = of.event_ms
        table.add_row(f"{name}: event to both serving", str(of.versions), f"{p50:.1f}", f"{p99:.1f}", f"{worst:.1f}")
        for what, windows in (("requests, steady", of.steady), ("requests, swaps", of.swaps)):
            row = (f"{windows.p50:.2f}", f"{windows.p99:.2f}", f"{windows.worst:.2f}")
            table.add_row(f"{name}: {windows.requests:,} {what}", "", *row)
    return table


if __name__ == "__main__":
    sys.exit(main())
