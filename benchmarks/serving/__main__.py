"""Run the benchmark: the contestants as processes, a load on one after the other, tables and a JSON file."""

import argparse
import os
import signal
import sys

from rich.console import Console

from benchmarks.serving import plan
from benchmarks.serving.contestants import CONTESTANTS
from benchmarks.serving.cores import divide
from benchmarks.serving.report import report
from benchmarks.serving.results import Results
from benchmarks.serving.run import Bench, Plan

WIDTH = 150


def main() -> int:
    """Measure and report; the exit code is 1 if a contestant was disqualified, whatever the figures are."""
    options, console = _options(), Console(highlight=False, width=WIDTH)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # through everything that stops servers
    cores = divide(shared=options.shared)
    load = os.getloadavg()[0]
    console.print(str(cores))
    if load > (os.cpu_count() or 1) / 2:
        console.print(f"[yellow]the machine is busy (load {load:.1f}): figures will be those of its other work too[/]")
    results = Results(str(cores), len(cores.servers))
    try:
        Bench(plan_of(options), cores, results, console.print).run()
    finally:
        report(results, console)  # of what was measured until something failed, too
    return 1 if results.disqualified else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="every transport, number in flight and batch, of everyone")
    parser.add_argument("--only", nargs="*", choices=CONTESTANTS, help="which contestants [all]")
    parser.add_argument("--forms", nargs="*", choices=plan.WHO, help="which forms of requests [all]")
    parser.add_argument("--shared", action="store_true", help="all cores for the servers and for the load too")
    parser.add_argument("--seconds", type=float, help="of each cell, after a warm-up")
    parser.add_argument("--no-swaps", action="store_true", help="leave out the swaps, which need a Kafka and a Redis")
    return parser.parse_args()


def plan_of(options: argparse.Namespace) -> Plan:
    """What the options ask for."""
    only = [CONTESTANTS[name] for name in options.only or CONTESTANTS]
    rows = plan.full(only) if options.full else plan.short(only)
    rows = [row for row in rows if not options.forms or row.form in options.forms]
    seconds = options.seconds or (4.0 if options.full else 2.0)
    return Plan(only, rows, seconds, offered_s=10.0 if options.full else 5.0, offered_rounds=4 if options.full else 2,
                swaps=not options.no_swaps)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
