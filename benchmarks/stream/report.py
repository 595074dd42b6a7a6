"""The tables on the terminal, and build/bench/stream.json."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.stream.contestants import BARE, CONTESTANTS, OURS, TWO
from benchmarks.stream.figures import Figures, Latency, Memory, median, ratio
from benchmarks.stream.headers import KINDS
from benchmarks.stream.latency import FLOOR

OUT = Path("build/bench/stream.json")


@dataclass
class Results:
    """Everything that one invocation measured."""

    load_before: float
    records: dict[str, int] = field(default_factory=dict)
    """The backlog of each contestant."""
    runs: dict[str, list[Figures]] = field(default_factory=dict)
    two: list[Figures] = field(default_factory=list)
    """Ours in two processes, on the backlog that one had."""
    latencies: dict[str, list[Latency]] = field(default_factory=dict)
    memory: Memory | None = None
    headers: dict[str, dict[str, list[Figures]]] = field(default_factory=dict)
    """By kind of headers and contestant: the bare loop and ours."""

    def ratios(self) -> dict[str, float]:
        """Ours by theirs, by the others' names.

        Two processes of ours by one; by kind of headers, ours by the bare loop.
        """
        ours = self.runs.get(OURS.name, [])
        found = {name: ratio(ours, theirs) for name, theirs in self.runs.items() if ours and name != OURS.name}
        if ours and self.two:
            found[TWO] = ratio(self.two, ours)
        raced = ((kind, by[OURS.name], by[BARE.name]) for kind, by in self.headers.items())
        return {**found, **{kind: ratio(with_, bare) for kind, with_, bare in raced if with_}}

    def as_json(self) -> dict[str, Any]:
        """What build/bench/stream.json holds."""
        measured: dict[str, dict[str, Any]] = {}
        for name, runs in self.runs.items():
            rates = [round(run.records_per_s) for run in runs]
            measured[name] = {**median(runs).as_dict(), "records": self.records[name], "rounds_records_per_s": rates}
        if self.two:
            measured[TWO] = median(self.two).as_dict()
        for kind, raced in self.headers.items():
            measured[kind] = {name: median(found).as_dict() for name, found in raced.items() if found}
        if self.memory is not None:
            measured.setdefault(OURS.name, {})["memory"] = self.memory.as_dict()
        for name, found in self.latencies.items():
            measured.setdefault(name, {})["latency_ms"] = [one.as_dict() for one in found]
        return {"load_before": round(self.load_before, 2), "figures": measured, "ratios": self.ratios()}


def report(results: Results, console: Console) -> None:
    """Print, and write the file."""
    if results.runs or results.headers:
        console.print(_throughput_table(results))
    if results.latencies:
        console.print(_latency_table(results.latencies))
    for name, value in results.ratios().items():
        console.print(_ratio_title(name), f"{value:.2f}")
    if results.memory is not None:
        console.print(results.memory.told())
    if results.load_before > (os.cpu_count() or 1) / 2:
        console.print(
            f"[yellow]the machine was busy (load {results.load_before:.1f} before the start): so are these figures[/]"
        )
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(results.as_json(), indent=2))


def _ratio_title(name: str) -> str:
    if name == TWO:
        return "two processes / one"
    return f"with {name}: ours / {BARE.name}" if name in KINDS else f"ours / {name}"


def _throughput_table(results: Results) -> Table:
    table = Table(title="A backlog, worked off; medians of the rounds")
    for column in ("", "guarantee", "backlog", "records/s", "CPU µs/record", "RSS MiB", "first commit s"):
        table.add_column(column, justify="left" if column in ("", "guarantee") else "right")
    for name, runs in results.runs.items():
        who, found = CONTESTANTS[name], median(runs)
        table.add_row(
            who.title, who.guarantee, f"{results.records[name]:,}", f"{found.records_per_s:,.0f}",
            f"{found.cpu_us_per_record:.2f}", f"{found.rss_mib:.0f}", f"{found.start_s:.1f}",
        )  # fmt: skip
    if results.two:
        rate, cpu = median(results.two).records_per_s, median(results.two).cpu_us_per_record
        table.add_row("Headrace stream, two processes", OURS.guarantee, "", f"{rate:,.0f}", f"{cpu:.2f}", "", "")
    for kind, raced in results.headers.items():
        for name, runs in raced.items():
            if runs:
                rate, cpu = median(runs).records_per_s, median(runs).cpu_us_per_record
                table.add_row(f"{CONTESTANTS[name].title}, {kind}", "", "", f"{rate:,.0f}", f"{cpu:.2f}", "", "")
    return table


def _latency_table(latencies: Mapping[str, Sequence[Latency]]) -> Table:
    table = Table(title="Event produced to committed prediction read, ms")
    columns = (
        "",
        "events/s",
        "p50",
        "p99",
        "p99.9",
        "worst",
        "not read",
        "offer late p99, worst",
        "cores of offer, reader",
    )
    for column in columns:
        table.add_column(column, justify="right" if column else "left")
    for name, found in latencies.items():
        title = CONTESTANTS[name].title if name in CONTESTANTS else FLOOR
        for one in found:
            ms = (f"{value:.0f}" for value in (one.p50, one.p99, one.p999, one.worst))
            late = f"{one.offer_late_p99:.1f} {one.offer_late_worst:.1f}"
            cores = f"{one.offer_cores:.2f} {one.reader_cores:.2f}"
            table.add_row(title, f"{one.rate:,.0f}", *ms, f"{one.offered - one.read:,}", late, cores)
        table.add_section()
    return table
