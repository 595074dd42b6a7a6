"""Run the benchmark: a broker of its own, a backlog, the contestants in turn, tables and a JSON file."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import psutil
from rich.console import Console

from benchmarks.stream.contestants import BARE, CONTESTANTS, FAUST_TAKE, OURS, QUIX, Contestant
from benchmarks.stream.headers import KINDS
from benchmarks.stream.report import OUT, Results, report
from benchmarks.stream.run import Bench, Plan
from benchmarks.stream.scaling import Scaling, scaling_table
from headrace.platform import LocalPlatform
from headrace.runtime.settings import ServiceSettings

WIDTH = 128
SHORT = ("throughput", "two", "headers", "latency")
ALL = (*SHORT, "memory")


def main() -> int:
    """Measure and report; the exit code is 0 whatever the figures are."""
    console = Console(highlight=False, width=WIDTH)
    options = _options()
    plan, results = plan_of(options, console), Results(load_before=os.getloadavg()[0])
    with tempfile.TemporaryDirectory() as folder, LocalPlatform(Path(folder), env={}) as platform:
        servers = platform.endpoints.kafka_bootstrap_servers
        settings = ServiceSettings(kafka_bootstrap_servers=servers, run_dir=Path(folder)).for_role("bench")
        if options.processes:
            _scale(settings, plan, options.processes, console)
            return 0
        try:
            Bench(plan, settings, results, console.print).run()
        finally:
            report(results, console)  # of what was measured until something failed, too
    return 0


def _scale(settings: ServiceSettings, plan: Plan, processes: list[int], console: Console) -> None:
    broker = next(child for child in psutil.Process().children(recursive=True) if child.name() == "java")
    scaling = Scaling(settings, broker, console.print)
    found = scaling.run(processes, records=plan.records, rounds=plan.rounds)
    console.print(scaling_table(found))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    (OUT.parent / "stream-processes.json").write_text(json.dumps([one.as_dict() for one in found], indent=2))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--full", action="store_true", help="longer: 1 M records, four rounds, 20 s a rate, memory over 5 M"
    )
    parser.add_argument("--measure", nargs="*", choices=ALL, help="what to measure [all; memory in the long form only]")
    parser.add_argument(
        "--processes",
        type=lambda text: [int(number) for number in text.split(",")],
        help="instead of all else, ours in so many processes of one group, such as 1,2,4",
    )
    parser.add_argument("--only", nargs="*", choices=CONTESTANTS, help="which contestants [all]")
    parser.add_argument("--records", type=int, help="records in the backlog")
    parser.add_argument("--memory-records", type=int, default=5_000_000, help="records over which memory is watched")
    parser.add_argument("--rounds", type=int, help="how often every contestant runs; figures are medians")
    parser.add_argument("--rates", type=float, nargs="*", default=[1000, 10_000, 50_000], help="offered events/s")
    parser.add_argument("--seconds", type=float, help="of each rate, after a warm-up")
    return parser.parse_args()


def plan_of(options: argparse.Namespace, console: Console) -> Plan:
    """What the options ask for; those that are not installed are left out, and named."""
    full, measure = options.full, options.measure or (ALL if options.full else SHORT)
    named = [CONTESTANTS[name] for name in options.only or CONTESTANTS]
    racing = named if full or options.only else [who for who in named if who is not FAUST_TAKE]
    answering = [who for who in named if who in ((BARE, OURS, QUIX) if full or options.only else (BARE, OURS))]
    rounds = options.rounds or (4 if full else 3)
    return Plan(
        racing=_installed(racing, console) if "throughput" in measure else (),
        answering=_installed(answering, console) if "latency" in measure else (),
        records=options.records or (1_000_000 if full else 300_000),
        rounds=rounds,
        peer_rounds=rounds if full or options.only else min(rounds, 2),
        two_processes="two" in measure,
        headers=tuple(KINDS) if "headers" in measure else (),
        memory_records=options.memory_records if "memory" in measure else 0,
        rates=options.rates,
        seconds=options.seconds or (20.0 if full else 4.0),
    )


def _installed(wanted: Iterable[Contestant], console: Console) -> list[Contestant]:
    found = []
    for who in wanted:
        if who.installed:
            found.append(who)
        else:
            console.print(
                f"[yellow]{who.title} is left out: {who.python} is not there; make bench-stream installs it[/]"
            )
    return found


if __name__ == "__main__":
    sys.exit(main())
