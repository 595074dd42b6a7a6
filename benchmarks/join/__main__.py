"""Run the benchmark: the state alone, its memory over many windows, then the join and a bare loop on a broker."""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median

from rich.console import Console

from benchmarks.join.alone import memory, rate
from benchmarks.join.race import PARTITIONS, Result, bare, fill, forget_group, ours, recovery
from benchmarks.join.windows import windows
from headrace.platform import LocalPlatform
from headrace.runtime.settings import ServiceSettings

RESULTS = Path("build/bench/join.json")
LIMITS, LIMITS_FULL = [(1024, 0), (256, 65_536)], [(1024, 65_536)]
"""Of the open events: memory and disk in MiB."""
SHORT, LONG = 400_000, 2_000_000


def main() -> int:
    """Measure and report; the exit code is 0 whatever the figures are."""
    options = _options()
    pairs = options.pairs or (LONG if options.full else SHORT)
    console = Console(highlight=False, width=120)
    alone = rate(pairs)
    console.print(f"state alone, a second of processor time: {alone.state:,.0f} pairs; "
                  f"with examples encoded: {alone.encoded:,.0f}")  # fmt: skip
    flat = list(memory(30 if options.full else 12, 10_000, 10))
    for found in flat[2::3]:
        console.print(f"after {found.windows:4.1f} windows: {found.resident / 2**20:6.1f} MiB resident, state "
                      f"{found.held / 2**20:6.1f}, {found.waiting:,} open, {found.keys:,} keys")  # fmt: skip
    opened = list(windows([10_000_000] if options.full else [1_000_000], LIMITS_FULL if options.full else LIMITS))
    for window in opened:
        where = f"{window.resident_mib:,.0f} MiB resident, {window.on_disk_mib:,.0f} on disk"
        rates = f"opens {1e6 / window.open_us:,.0f} and joins {1e6 / window.join_us:,.0f}"
        console.print(f"{window.events:,} open events, {window.max_mib} MiB of memory: {where}, {window.given_up:,} "
                      f"given up; a second of processor time {rates}")  # fmt: skip
    results, recovered = _race(pairs // PARTITIONS * PARTITIONS, options.rounds, console)
    _tell(results, console)
    console.print(f"ready {median(recovered):.1f} s after a start with {pairs:,} pairs in the window")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    medians = {name: {f: median(getattr(r, f) for r in runs) for f in Result._fields} for name, runs in results.items()}
    ratio = medians["join"]["per_s"] / medians["bare"]["per_s"]
    figures = {
        **medians,
        "recovery_s": median(recovered),
        "windows": [window._asdict() for window in opened],
        "state": alone._asdict(),
        "memory": [found._asdict() for found in flat],
    }
    RESULTS.write_text(json.dumps({"figures": figures, "ratios": {"bare": ratio}}, indent=1))
    return 0


def _race(pairs: int, rounds: int, console: Console) -> tuple[dict[str, list[Result]], list[float]]:
    recovered = list[float]()
    results: dict[str, list[Result]] = {"join": [], "bare": []}
    with tempfile.TemporaryDirectory() as folder, LocalPlatform(Path(folder), env={}) as platform:
        settings = ServiceSettings(
            kafka_bootstrap_servers=platform.endpoints.kafka_bootstrap_servers, run_dir=Path(folder)
        ).for_role("bench")
        fill(settings, pairs)
        for n in range(rounds):
            console.print(f"round {n + 1} of {rounds}, {pairs:,} pairs")
            results["bare"].append(bare(settings, pairs, n))
            results["join"].append(ours(settings, pairs, Path(folder) / f"run{n}"))
            recovered.append(recovery(settings, Path(folder) / f"run{n}"))
            forget_group(settings)
    return results, recovered


def _tell(results: dict[str, list[Result]], console: Console) -> None:
    for name, runs in results.items():
        by_clock, by_cpu, peak = (median(run[i] for run in runs) for i in range(3))
        speed = f"{by_clock:,.0f} pairs/s, {by_cpu:,.0f} a second of processor time"
        console.print(f"{name}: {speed}, peak {peak:,.0f} MiB")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="longer: 2 M pairs and 30 windows")
    parser.add_argument("--pairs", type=int, help="pairs in the backlog")
    parser.add_argument("--rounds", type=int, default=3, help="how often each of the two runs; figures are medians")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
