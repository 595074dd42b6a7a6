"""Run the benchmark: a Kafka and a Redis of its own, its parts, tables and a JSON file."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from benchmarks.weights import delta, peers, rollout, transfer
from benchmarks.weights.report import Part, write
from benchmarks.weights.rollout import Fleet, Scale
from headrace.platform import LocalPlatform
from headrace.runtime.scheduling import use_realtime
from headrace.runtime.settings import ServiceSettings

OUT = Path("build/bench/weights.json")
MB, GIB = 1_000_000, 1 << 30
ROW = rollout.WIDTH * 4
FLEETS = (Fleet(1), Fleet(4), Fleet(8))
IN_REAL_TIME = (Fleet(1, realtime=True), Fleet(4, realtime=True))
REDIS_BYTES = 8 * GIB

Measure = Callable[[ServiceSettings, argparse.Namespace], Part]


def transfers(settings: ServiceSettings, options: argparse.Namespace) -> Part:
    """The agent's pull beside a raw read."""
    sizes = {"1 MB": (MB, 40), "100 MB": (100 * MB, 15 if options.full else 7)}
    if options.full:
        sizes["1 GiB"] = (GIB, 5)
    return transfer.part(
        {name: transfer.transfer(settings.redis_url, size, rounds) for name, (size, rounds) in sizes.items()}
    )


def deltas(settings: ServiceSettings, _options: argparse.Namespace) -> Part:
    """A version of which 1 % of the rows changed."""
    return delta.part(delta.deltas(settings.redis_url, 100 * MB // ROW, 5))


def fleets(settings: ServiceSettings, _options: argparse.Namespace) -> Part:
    """Agents that take versions from each other, behind a slow store."""
    return peers.part(peers.peers(settings))


def swaps(name: str, scale: Scale, fleets: tuple[Fleet, ...]) -> Measure:
    """Rollouts of one size to fleets of several sizes."""

    def measure(settings: ServiceSettings, options: argparse.Namespace) -> Part:
        chosen = [of for of in fleets if not options.workers or of.workers in options.workers]
        permitted = [of for of in chosen if not of.realtime or _may_come_first()]
        return rollout.part(rollout.rollouts(settings, name, scale, permitted))

    return measure


SHORT = {
    "transfers": transfers,
    "deltas": deltas,
    "peers": fleets,
    "swaps-1MB": swaps(
        "1 MB", Scale(rows=MB // ROW, skipped=30, versions=75, every_s=0.4, rounds=5), FLEETS + IN_REAL_TIME
    ),
}
LONG = {
    "swaps-100MB": swaps(
        "100 MB", Scale(rows=100 * MB // ROW, skipped=6, versions=16, every_s=1.5, rounds=4), FLEETS + IN_REAL_TIME
    ),
    "swaps-1GiB": swaps("1 GiB", Scale(rows=GIB // ROW, skipped=5, versions=4, every_s=6.0, rounds=2), FLEETS),
}


def _may_come_first() -> bool:
    """Whether a process may have a real-time priority here; found out by a thread, which keeps it."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(use_realtime).result()


def main() -> int:
    """Measure and report; the exit code is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="100 MB and 1 GiB too, and more rounds")
    parser.add_argument(
        "--only", action="append", choices=[*SHORT, *LONG], help="parts to run; others' figures are kept"
    )
    parser.add_argument(
        "--workers", action="append", type=int, choices=[1, 4, 8], help="fleets of so many workers only"
    )
    options = parser.parse_args()
    every = {**SHORT, **LONG}
    chosen = {name: every[name] for name in options.only or (every if options.full else SHORT)}
    console = Console(highlight=False, width=160)
    load = os.getloadavg()[0]
    if load > (os.cpu_count() or 1) / 2:
        console.print(
            f"[yellow]the machine is busy (load {load:.1f}): latencies will be those of its other work too[/]"
        )
    parts = {}
    for name, measure in chosen.items():
        with tempfile.TemporaryDirectory() as folder:
            parts[name] = _measured(Path(folder), measure, options)
        for table in parts[name].tables:
            console.print(table)
    write(OUT, parts, keep=bool(options.only))
    return 0


def _measured(
    folder: Path, measure: Callable[[ServiceSettings, argparse.Namespace], Part], options: argparse.Namespace
) -> Part:
    with LocalPlatform(folder, env={}, redis_max_bytes=REDIS_BYTES) as platform:
        settings = ServiceSettings(
            kafka_bootstrap_servers=platform.endpoints.kafka_bootstrap_servers,
            redis_url=platform.endpoints.redis_url,
            run_dir=folder,
            storage_dir=folder / "storage",
        ).for_role("bench")
        return measure(settings, options)


if __name__ == "__main__":
    sys.exit(main())
