"""The tables on the terminal, and build/bench/serving.json."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.serving.cell import Figures
from benchmarks.serving.contestants import CONTESTANTS
from benchmarks.serving.results import Results, median

OUT = Path("build/bench/serving.json")
_COLUMNS = ("requests/s", "p50 ms", "p99 ms", "CPU µs", "load's µs", "others", "answers")
BUSY = 0.9
"""Of its core: from here on the load may have been the limit."""

QUIET = 0.05
"""Of the servers' cores, at most, for other processes: above, rates are not to be trusted."""


def report(results: Results, console: Console) -> None:
    """Print the tables, and write the JSON file."""
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(results.as_dict(), indent=2))
    console.print(_cells(results))
    if results.half_load or results.swaps:
        console.print(_offered(results))
    if (others := results.others()) > QUIET:
        console.print(f"[yellow]other processes took {others:.0%} of the servers' cores: compare CPU µs, not rates[/]")
    for name, why in results.disqualified.items():
        console.print(f"[bold red]DISQUALIFIED: {CONTESTANTS[name].title}: {why}[/]")
    ratios = ", ".join(f"{name} {value}" for name, value in results.ratios().items())
    console.print(f"ratios, ours by theirs: {ratios}")
    console.print(f"figures in {OUT}")


def _cells(results: Results) -> Table:
    table = _table(f"Requests: {results.cores}", "", *_COLUMNS)
    for (form, n, batch), cell in results.cells.items():
        for name, runs in cell.items():
            who = f"{form}, {n} in flight, batch {batch}: {CONTESTANTS[name].title}"
            table.add_row(who, *_row(median(runs)))
        table.add_section()
    return table


def _offered(results: Results) -> Table:
    table = _table(
        "On a schedule, gRPC, at half of the throughput with 16 in flight; latency from when a request was due",
        "", *_COLUMNS,
    )  # fmt: skip
    for name, runs in results.half_load.items():
        table.add_row(CONTESTANTS[name].title, *_row(median(runs)))
    for n, pair in enumerate(results.swaps):
        for what, found in zip(("no swaps", "a version a second"), pair, strict=True):
            table.add_row(f"Headrace on live weights, round {n + 1}, {what}", *_row(found))
    return table


def _row(found: Figures) -> list[str]:
    mark = " (limit)" if found.load_busy > BUSY else ""
    return [
        f"{found.requests_per_s:,.0f}{mark}", f"{found.p50:.2f}", f"{found.p99:.2f}", f"{found.cpu_us:.0f}",
        f"{found.load_us:.0f}", f"{found.others:.0%}", f"{found.answered:,.0f}",
    ]  # fmt: skip


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="right" if column else "left")
    return table
