"""A version's lineage, for people."""

import json
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from headrace.cli.views.formats import number
from headrace.rollouts.lineage import Lineage, Range, Step
from headrace.rollouts.status import VersionStatus


def show_lineage(lineage: Lineage, status: VersionStatus | None, workers: list[str], console: Console) -> None:
    """The version, who served it, and its ancestors, the newest first."""
    console.print(Text.assemble((f"{lineage.model} version {lineage.version}", "bold"), f", step {lineage.step:,}"))
    _line(console, "checkpoint", lineage.checkpoint)
    if status is not None:
        reason = f": {status.reason}" if status.reason else ""
        _line(console, "state", f"{status.state}{reason}")
        if status.activated_us:
            _line(console, "activated", _time(status.activated_us))
    if workers:
        _line(console, "served by", ", ".join(workers))
    for step in lineage.steps:
        console.print()
        _show_step(step, console)
    if not lineage.complete:
        console.print("\nolder versions' events are no longer on headrace.checkpoints", style="dim")


def _show_step(step: Step, console: Console) -> None:
    which = f"version {step.first}" if step.first == step.last else f"versions {step.first} to {step.last}"
    how = "handed over by a training job" if "job" in step.origin else "learned from the stream"
    base = f", on top of version {step.base}" if step.base else ""
    console.print(Text.assemble((which, "bold"), f": {how}{base}"))
    began, ended = map(_time, step.published_us)
    _line(console, "made", began if began == ended else f"{began} to {ended}")
    if "job" in step.origin:
        _line(console, "job", step.origin["job"])
        _line(console, "data", _data(step.origin.get("data", "")))
    else:
        for topic, ranges in step.learned.items():
            _line(console, "examples", f"{topic} {_ranges(ranges)}")
    if "warm_start" in step.origin:
        _line(console, "began with", step.origin["warm_start"])
    for name in ("code", "commit", "headrace", "torch"):
        if name in step.origin:
            _line(console, name, step.origin[name])
    if step.metrics:
        _line(console, "metrics", ", ".join(f"{name} {number(value)}" for name, value in sorted(step.metrics.items())))


def _ranges(ranges: Range) -> str:
    count = sum(end - begin for begin, end in ranges.values())
    return f"{', '.join(f'[{p}] {begin}..{end}' for p, (begin, end) in sorted(ranges.items()))} ({count:,} records)"


def _data(text: str) -> str:
    try:
        data = json.loads(text)
    except ValueError:
        return text
    return ", ".join(f"{name} {_sets(value) if name == 'datasets' else value}" for name, value in data.items())


def _sets(references: Any) -> str:
    """Data sets by their names, and the beginnings of their digests."""
    return ", ".join(f"{one['set']} ({one['digest'][:12]})" for one in references)


def _time(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _line(console: Console, name: str, text: str) -> None:
    console.print(Text.assemble(f"  {name:<11}", text), soft_wrap=True)
