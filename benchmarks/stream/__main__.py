"""Run the benchmark: a broker of its own, a backlog, the contestants in turn, tables and a JSON file."""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.stream.backlog import SINK, SOURCE, create_topics, fill
from benchmarks.stream.contestants import BARE, CONTESTANTS, OURS, Contestant
from benchmarks.stream.figures import figures
from benchmarks.stream.latency import floor, latencies
from benchmarks.stream.race import race
from benchmarks.stream.report import Results, report
from benchmarks.stream.terms import Terms
from headrace.platform import LocalPlatform
from headrace.runtime.settings import ServiceSettings

WIDTH = 128
ALL = ("throughput", "latency")


def main() -> int:
    """Measure and report; the exit code is 0 whatever the figures are."""
    options = _options()
    results = Results(load_before=os.getloadavg()[0])
    contestants = [who for who in CONTESTANTS.values() if not options.only or who.name in options.only]
    with tempfile.TemporaryDirectory() as folder, LocalPlatform(Path(folder), env={}) as platform:
        servers = platform.endpoints.kafka_bootstrap_servers
        settings = ServiceSettings(kafka_bootstrap_servers=servers, run_dir=Path(folder)).for_role("bench")
        create_topics(settings)
        if "throughput" in options.measure:
            fill(settings, options.records)
            throughput(results, settings, contestants, options.records, options.rounds)
        if "latency" in options.measure:
            latency(results, settings, contestants, options.rates, options.seconds)
    report(results, Console(highlight=False, width=WIDTH))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="longer: 1 M records, five rounds, 20 s a rate")
    parser.add_argument("--measure", nargs="*", choices=ALL, default=ALL, help="what to measure [everything]")
    parser.add_argument("--only", nargs="*", choices=CONTESTANTS, help="which contestants [all]")
    parser.add_argument("--records", type=int, help="records in the backlog")
    parser.add_argument("--rounds", type=int, help="how often every contestant runs; figures are medians")
    parser.add_argument("--rates", type=float, nargs="*", default=[1000, 10_000, 50_000], help="offered events/s")
    parser.add_argument("--seconds", type=float, help="of each rate, after a warm-up")
    options = parser.parse_args()
    options.records = options.records or (1_000_000 if options.full else 300_000)
    options.rounds = options.rounds or (5 if options.full else 3)
    options.seconds = options.seconds or (20.0 if options.full else 6.0)
    return options


def throughput(
    results: Results, settings: ServiceSettings, contestants: Sequence[Contestant], records: int, rounds: int
) -> None:
    """Everybody works off a backlog, in turn, so that a noisy minute hits all of them."""
    results.records = {who.name: int(records * who.share) for who in contestants}
    for n in range(rounds):
        for who in contestants:
            samples = race(who, settings, _terms(settings, f"bench.{who.name}.{n}"), results.records[who.name])
            results.runs.setdefault(who.name, []).append(figures(samples, results.records[who.name]))


def latency(
    results: Results, settings: ServiceSettings, contestants: Sequence[Contestant], rates: Sequence[float], seconds: float
) -> None:
    """Everybody in turn at every rate; first of all, what the measuring itself adds."""
    results.latencies["floor"] = floor(settings, rates=rates, seconds=seconds)
    for who in contestants:
        if who in (BARE, OURS):
            terms = replace(_terms(settings, f"bench.{who.name}.rate"), low_latency=True)
            results.latencies[who.name] = latencies(who, settings, terms, rates=rates, seconds=seconds)


def _terms(settings: ServiceSettings, group: str) -> Terms:
    return Terms(settings.kafka_bootstrap_servers, SOURCE, SINK, group)


if __name__ == "__main__":
    sys.exit(main())
