"""Run the benchmark: a broker of its own, a backlog, the contestants in turn, tables and a JSON file."""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.stream.backlog import PARTITIONS, SINK, SOURCE, create_topics, fill
from benchmarks.stream.contestants import BARE, CONTESTANTS, IN_SHORT, OURS, QUIX, TWO, Contestant
from benchmarks.stream.figures import figures, memory
from benchmarks.stream.latency import floor, latencies
from benchmarks.stream.race import race
from benchmarks.stream.report import Results, report
from benchmarks.stream.terms import Terms
from headrace.platform import LocalPlatform
from headrace.runtime.settings import ServiceSettings

WIDTH = 128
MOST_OFFERED = {OURS.name: 1e9, BARE.name: 1e9, QUIX.name: 10_000}
"""Events/s up to which latency is measured: Quix Streams does not keep up with the higher ones."""
SHORT = ("throughput", "two", "latency")
ALL = (*SHORT, "memory")


def main() -> int:
    """Measure and report; the exit code is 0 whatever the figures are."""
    options, console = _options(), Console(highlight=False, width=WIDTH)
    results = Results(load_before=os.getloadavg()[0])
    contestants = _contestants(options, console)
    with tempfile.TemporaryDirectory() as folder, LocalPlatform(Path(folder), env={}) as platform:
        servers = platform.endpoints.kafka_bootstrap_servers
        settings = ServiceSettings(kafka_bootstrap_servers=servers, run_dir=Path(folder)).for_role("bench")
        create_topics(settings)
        fill(settings, _backlog(options))
        if "throughput" in options.measure:
            throughput(results, settings, contestants, options.records, options.rounds)
        if "two" in options.measure:
            two_processes(results, settings, options.records, options.rounds)
        if "memory" in options.measure:
            memory_line(results, settings, options.memory_records)
        if "latency" in options.measure:
            latency(results, settings, contestants, options.rates, options.seconds)
    report(results, console)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="longer: 1 M records, four rounds, 20 s a rate")
    parser.add_argument("--measure", nargs="*", choices=ALL, help="what to measure [all; memory in the long form only]")
    parser.add_argument("--only", nargs="*", choices=CONTESTANTS, help="which contestants [all]")
    parser.add_argument("--records", type=int, help="records in the backlog")
    parser.add_argument("--memory-records", type=int, default=5_000_000, help="records over which memory is watched")
    parser.add_argument("--rounds", type=int, help="how often every contestant runs; figures are medians")
    parser.add_argument("--rates", type=float, nargs="*", default=[1000, 10_000, 50_000], help="offered events/s")
    parser.add_argument("--seconds", type=float, help="of each rate, after a warm-up")
    options = parser.parse_args()
    options.records = options.records or (1_000_000 if options.full else 300_000)
    options.measure = options.measure or (ALL if options.full else SHORT)
    options.rounds = options.rounds or (4 if options.full else 3)
    options.seconds = options.seconds or (20.0 if options.full else 5.0)
    return options


def _contestants(options: argparse.Namespace, console: Console) -> list[Contestant]:
    takes_part = options.only or [who.name for who in (CONTESTANTS.values() if options.full else IN_SHORT)]
    wanted = [CONTESTANTS[name] for name in takes_part]
    for who in wanted:
        if not who.installed:
            console.print(f"[yellow]{who.title} is left out: {who.python} is not there; make bench-stream installs it[/]")
    return [who for who in wanted if who.installed]


def _backlog(options: argparse.Namespace) -> int:
    """How many events are needed on the topic."""
    needed = {"throughput": options.records, "two": options.records, "memory": options.memory_records}
    return max((needed[what] for what in options.measure if what in needed), default=0)


def throughput(
    results: Results, settings: ServiceSettings, contestants: Sequence[Contestant], records: int, rounds: int
) -> None:
    """Everybody works off a backlog, in turn, so that a noisy minute hits all of them."""
    results.records = {who.name: int(records * who.share) // PARTITIONS * PARTITIONS for who in contestants}
    for n in range(rounds):
        for who in contestants:
            samples = race(who, settings, _terms(settings, f"bench.{who.name}.{n}"), results.records[who.name])
            results.runs.setdefault(who.name, []).append(figures(samples, results.records[who.name]))


def two_processes(results: Results, settings: ServiceSettings, records: int, rounds: int) -> None:
    """Ours in two processes of one group, on the backlog that one had."""
    for n in range(rounds):
        samples = race(OURS, settings, _terms(settings, f"bench.{TWO}.{n}"), records, processes=2)
        results.two.append(figures(samples, records))


def memory_line(results: Results, settings: ServiceSettings, records: int) -> None:
    """One process of ours over many records."""
    results.memory = memory(race(OURS, settings, _terms(settings, "bench.memory"), records), records)


def latency(
    results: Results, settings: ServiceSettings, contestants: Sequence[Contestant], rates: Sequence[float], seconds: float
) -> None:
    """Everybody in turn at every rate; first of all, what the measuring itself adds."""
    results.latencies["floor"] = floor(settings, rates=rates, seconds=seconds)
    for who in contestants:
        offered = [rate for rate in rates if rate <= MOST_OFFERED.get(who.name, 0)]
        if offered:
            terms = replace(_terms(settings, f"bench.{who.name}.rate"), low_latency=True)
            results.latencies[who.name] = latencies(who, settings, terms, rates=offered, seconds=seconds)


def _terms(settings: ServiceSettings, group: str) -> Terms:
    return Terms(settings.kafka_bootstrap_servers, SOURCE, SINK, group)


if __name__ == "__main__":
    sys.exit(main())
