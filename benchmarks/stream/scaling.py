"""Processes of one group beside each other: what a record costs them, and the broker, as their number grows.

[BENCH_PARTITIONS=16] python -m benchmarks.stream --processes 1,2,4
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psutil
from rich.table import Table

from benchmarks.stream.backlog import SINK, SOURCE, create_topics, ends, fill
from benchmarks.stream.contestants import OURS
from benchmarks.stream.figures import Figures, figures, median
from benchmarks.stream.race import race
from benchmarks.stream.terms import Terms
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings


@dataclass(frozen=True)
class Scaled:
    """What so many processes of one group did."""

    processes: int
    figures: Figures
    broker_us_per_record: float
    """Processor time of the broker over the whole run, its start and what counts the output included."""
    records_per_marker: float
    """Records that a transaction writes to one partition, in the mean: less means smaller and more transactions."""

    def as_dict(self) -> dict[str, Any]:
        """Rounded, for JSON."""
        found = {
            "broker_us_per_record": self.broker_us_per_record,
            "records_per_marker": self.records_per_marker,
            **asdict(self.figures),
        }
        return {"processes": self.processes, **{name: round(value, 3) for name, value in found.items()}}


class Scaling:
    """One measurement on one broker. `tell` takes each figure as soon as it is there."""

    def __init__(self, settings: ServiceSettings, broker: psutil.Process, tell: Callable[[str], None]) -> None:
        self._settings, self._broker, self._tell = settings, broker, tell
        self._reader = kafka.consumer(settings, "bench.markers", **{"isolation.level": "read_uncommitted"})

    def run(self, processes: Sequence[int], *, records: int, rounds: int) -> list[Scaled]:
        """Every number of processes in turn, so many rounds; medians of the rounds."""
        create_topics(self._settings)
        fill(self._settings, records)
        found: dict[int, list[Scaled]] = {number: [] for number in processes}
        for n in range(rounds):
            for number in processes:
                found[number].append(one := self._measure(number, n, records))
                self._tell(f"{number} processes, round {n + 1}: {one.figures.records_per_s:,.0f} records/s")
        self._reader.close()
        return [self._median(number, runs) for number, runs in found.items()]

    def _measure(self, processes: int, n: int, records: int) -> Scaled:
        before, spent = self._written(), self._cpu_s()
        group = f"bench.scaling.{processes}.{n}"
        terms = Terms(self._settings.kafka_bootstrap_servers, SOURCE, SINK, group)
        found = figures(race(OURS, self._settings, terms, records, processes=processes), records)
        markers = max(1, self._written() - before - records)  # what is no record in a log is a transaction's marker
        return Scaled(processes, found, (self._cpu_s() - spent) / records * 1e6, records / markers)

    def _written(self) -> int:
        return sum(ends(self._reader, SINK).values())

    def _cpu_s(self) -> float:
        times = self._broker.cpu_times()
        return float(times.user + times.system)

    @staticmethod
    def _median(processes: int, runs: Sequence[Scaled]) -> Scaled:
        middle = sorted(runs, key=lambda run: run.figures.records_per_s)[len(runs) // 2]
        return Scaled(
            processes, median([run.figures for run in runs]), middle.broker_us_per_record, middle.records_per_marker
        )


def scaling_table(found: Sequence[Scaled]) -> Table:
    """For people; the efficiency is the rate by that of the first line's processes."""
    table = Table(title="Processes of one group on a backlog; medians of the rounds")
    for column in (
        "processes",
        "records/s",
        "efficiency",
        "CPU µs/record",
        "broker CPU µs/record",
        "records a transaction and partition",
    ):
        table.add_column(column, justify="right")
    first = found[0].figures.records_per_s / found[0].processes
    for one in found:
        rate = one.figures.records_per_s
        table.add_row(
            str(one.processes), f"{rate:,.0f}", f"{rate / one.processes / first:.2f}",
            f"{one.figures.cpu_us_per_record:.2f}", f"{one.broker_us_per_record:.2f}", f"{one.records_per_marker:,.0f}",
        )  # fmt: skip
    return table
