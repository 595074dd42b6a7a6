"""How a training job goes on, and what it came to."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from headrace.cli.views.formats import number
from headrace.training.job import PartReport, Report

_EVERY_S = 5.0


class TrainingView:
    """Tells of epochs on standard error: a line that stays on a terminal, one every few seconds elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console, self._told = console, 0.0

    def heard(self, line: Mapping[str, Any]) -> None:
        """Show a line of progress of the job's process."""
        if "epoch" not in line:
            return
        over = line["done"] == line["batches"]
        if over or time.monotonic() - self._told > (0.0 if self._console.is_terminal else _EVERY_S):
            self._told = time.monotonic()
            text = f"epoch {line['epoch']} of {line['epochs']}: {line['done']:,} of {line['batches']:,} batches"
            ends = "\r" if self._console.is_terminal and not over else "\n"
            self._console.print(text, end=ends, markup=False, soft_wrap=True)


def show_report(report: Report, console: Console) -> None:
    """Epochs, then the error of each part beside the baselines."""
    epochs = Table("epoch", "loss", "validation error", "seconds", box=None, pad_edge=False)
    for one in report.epochs:
        best = " (best)" if one.epoch == report.best else ""
        epochs.add_row(f"{one.epoch}{best}", f"{one.loss:.4g}", number(one.validation), f"{one.seconds:.1f}")
    console.print(epochs)
    names = list(report.parts["train"].baselines)
    unit = f", {report.unit}" if report.unit else ""
    heads = ("part", "examples", "labels from", "to", f"{report.error_name}{unit}", *names)
    parts = Table(*(Column(head, no_wrap=True) for head in heads), box=None, pad_edge=False)
    for name, part in report.parts.items():
        parts.add_row(
            name, f"{part.examples:,}", *_times(part), number(part.error),
            *(number(part.baselines.get(baseline)) for baseline in names),
        )  # fmt: skip
    console.print()
    console.print(parts)
    console.print()
    _show_metrics(report, console)
    if report.left_out:
        console.print(f"{report.left_out:,} examples could not be used; first: {report.reasons[0]}", markup=False)
    if report.purged:
        console.print(f"{report.purged:,} examples left out of validation and test: their events came before it began")
    console.print(f"weights: {report.weights}", markup=False, soft_wrap=True)
    if report.run:
        console.print(f"MLflow run: {report.run}", markup=False, soft_wrap=True)
    if report.refused:
        console.print(f"not handed over: gate {report.refused}", markup=False, soft_wrap=True)
    if report.version:
        offsets = ", ".join(f"{p}:{offset}" for p, offset in sorted(report.offsets.items()))
        console.print(f"published as version {report.version} of {report.model}; training goes on at {offsets}")


def _show_metrics(report: Report, console: Console) -> None:
    """The task's further metrics of the model on each part, where it has some."""
    names = list(dict.fromkeys(name for part in report.parts.values() for name in part.metrics))
    if not names:
        return
    table = Table(*(Column(head, no_wrap=True) for head in ("part", *names)), box=None, pad_edge=False)
    for name, part in report.parts.items():
        table.add_row(name, *(number(part.metrics.get(metric)) for metric in names))
    console.print(table)
    console.print()


def _times(part: PartReport) -> tuple[str, str]:
    if part.to_ms < 1_000_000_000_000:  # files without times
        return "-", "-"
    return tuple(datetime.fromtimestamp(ms / 1000, UTC).strftime("%m-%d %H:%M") for ms in (part.from_ms, part.to_ms))  # type: ignore[return-value]
