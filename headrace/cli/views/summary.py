"""What a run came to, for people."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.cli.views.figures import role_of, task_metrics
from headrace.cli.views.formats import duration, number
from headrace.launch.summary import Summary


def show(summary: Summary, console: Console) -> None:
    """The summary for people."""
    console.print()
    console.rule(f"[bold]{summary.pipeline}[/] after {summary.seconds:.0f} s", style="dim", align="left")
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="bold")
    table.add_column()
    for value, what in _rows(summary):
        table.add_row(value, what)
    console.print(table)
    console.print(_errors(summary))
    whole = {name: metrics.whole for name, metrics in summary.metrics.items()}
    for part in task_metrics(summary.task, whole, "whole run"):
        console.print(part)
    console.print(Text(f"logs, topics and checkpoints: {summary.run_dir}", "dim"), soft_wrap=True)


def _rows(s: Summary) -> Iterable[tuple[str, Text | str]]:
    yield f"{s.produced:,}", f"events produced, and {s.labels:,} labels"
    sink = (
        "each once"
        if s.ok
        else f"{s.duplicates:,} twice, {s.missing:,} missing" + ("" if s.drained else ", not drained")
    )
    first = f"; the first after {s.first_prediction_s:.1f} s" if s.first_prediction_s is not None else ""
    yield f"{s.predicted:,}", Text.assemble("predicted, ", (sink, "green" if s.ok else "bold red"), first)
    if s.dead_letters:
        yield f"{s.dead_letters:,}", "went to the dead letters"
    yield f"{s.joined:,}", "predictions met their label"
    if s.trained is not None:
        yield f"{s.trained:,}", "examples trained on"
    yield f"{s.checkpoints:,}", f"checkpoints, {s.swaps:,} swaps while predicting; version {s.version} at the end"
    if s.latency.p50 is not None and s.latency.p99 is not None:
        yield duration(s.latency.p50), f"from event to committed prediction, p50; p99 {duration(s.latency.p99)}"
    if s.freshness.p50 is not None and s.freshness.p99 is not None:
        yield (
            duration(s.freshness.p50),
            f"from a label to predictions that learned from it, p50; p99 {duration(s.freshness.p99)}",
        )
    if s.restarts:
        yield f"{s.restarts:,}", "restarts of roles that had crashed"


def _errors(s: Summary) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
    table.add_column(f"{s.error_name}{', ' + s.error_unit if s.error_unit else ''}")
    table.add_column("at the end", justify="right")
    table.add_column("whole run", justify="right")
    served = "as served" if s.models else "the model"
    for name, score in s.error.items():
        style = ("bold green" if s.beats_baselines else "bold yellow") if name == "model" else None
        table.add_row(served if name == "model" else name, number(score["window"]), number(score["mean"]), style=style)
    for one in s.models:
        table.add_row(f"{one.model}, {role_of(one)}", number(one.score.window), number(one.score.mean))
    return table
