"""What the monitor counts, measures and alerts about, as rich renderables."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from headrace.cli.views.formats import duration, metric, number
from headrace.contracts.snapshot import Canary, Firing, ModelStatus, Quantiles, Score, Snapshot

_BARS = "▁▂▃▄▅▆▇█"
_TREND = 32
_NAMED = 3  # canaries
_UNSHOWN = {"log_loss", "logistic_loss", "poisson_deviance", "auc_error"}
"""Of the metrics: losses, which stand above as the error, and how exact another one is."""


def figures(snapshot: Snapshot | None) -> list[RenderableType]:
    """What the monitor counts, measures and alerts about."""
    if snapshot is None:
        return [Text(" starting; the numbers come with the monitor ...\n", "dim")]
    flow = Table.grid(padding=(0, 2), expand=True)
    for justify in ("left", "right", "right", "left", "left"):
        flow.add_column(justify=justify, no_wrap=True)
    flow.columns[4].ratio = 1
    for row in _flow_rows(snapshot):
        flow.add_row(*row)
    scores = [_errors(snapshot), *task_metrics(snapshot.task, _windowed(snapshot), f"last {snapshot.window:,}")]
    return [flow, *_canaries(snapshot), _sink(snapshot), *scores, *models(snapshot), *_alerts(snapshot)]


def _flow_rows(snapshot: Snapshot) -> Iterable[tuple[Text | str, ...]]:
    counts, rates, versions = snapshot.counts, snapshot.rates, snapshot.versions
    serving = ", ".join(map(str, versions.serving)) or "none yet"
    pinned = " pinned" if versions.pinned else ""
    lag = " · ".join(f"{role} {n:,}" for role, n in snapshot.lag.items())
    yield (
        " events",
        f"{counts.events:,}",
        f"{rates.events:,.0f}/s",
        "model version",
        Text.assemble((serving, "bold green"), (f"{pinned}  newest {versions.newest}, {versions.swaps} swaps", "dim")),
    )
    yield (
        " predictions",
        f"{counts.predictions:,}",
        f"{rates.predictions:,.0f}/s",
        "freshness",
        _quantiles(snapshot.freshness),
    )
    yield " labels", f"{counts.labels:,}", f"{rates.labels:,.0f}/s", "latency", _quantiles(snapshot.latency)
    yield " joined", f"{counts.joined:,}", "", "lag", lag


def _canaries(snapshot: Snapshot) -> list[RenderableType]:
    """The versions that some workers serve before the others."""
    told: list[RenderableType] = []
    for model, canary, workers in canaries_of(snapshot):
        names = ", ".join(canary.workers[:_NAMED]) + (", ..." if len(canary.workers) > _NAMED else "")
        told.append(
            Text.assemble(
                " canary         ",
                (f"version {canary.version}{model} on {len(canary.workers)} of {workers} workers", "bold cyan"),
                (f" ({names}), {to_go(canary, snapshot)}", "dim"),
                no_wrap=True,
                overflow="ellipsis",
            )
        )
    return told


def canaries_of(snapshot: Snapshot) -> list[tuple[str, Canary, int]]:
    """Every version on canaries: whose it is, where there are several models, and how many workers its model has."""
    each = [(f" of {one.model}", one.versions.canary, len(one.workers)) for one in snapshot.models]
    each = each or [("", snapshot.versions.canary, len(snapshot.workers))]
    return [(model, canary, max(workers, len(canary.workers))) for model, canary, workers in each if canary is not None]


def to_go(canary: Canary, snapshot: Snapshot) -> str:
    """How long a canary goes on."""
    if not canary.until_us:
        return "until an operator goes on"
    left = (canary.until_us - snapshot.at_us) / 1e6
    return f"{left:.0f} s to go" if left > 0 else "its time is up"


def _sink(snapshot: Snapshot) -> Text:
    counts = snapshot.counts
    parts = [("duplicates", counts.duplicates, True), ("missing", counts.missing, True)]
    parts += [("dead letters", counts.dead_letters, False), ("unreadable", counts.unreadable, False)]
    line = Text(" sink           ")
    for name, value, must_be_zero in parts:
        style = ("bold red" if must_be_zero else "yellow") if value else ("green" if must_be_zero else "dim")
        line.append(f"{value:,} {name}   ", style)
    return line.append("\n")


def _errors(snapshot: Snapshot) -> RenderableType:
    unit = f", {snapshot.error_unit}" if snapshot.error_unit else ""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(f" {snapshot.error_name}{unit}", min_width=18)
    table.add_column(f"last {snapshot.window:,}", justify="right")
    table.add_column("whole run", justify="right")
    table.add_column("over time", min_width=_TREND)
    best = snapshot.best_baseline
    lines = [[p.model for p in snapshot.history], [p.baseline for p in snapshot.history if p.baseline is not None]]
    trends = sparklines(*lines)
    table.add_row(
        *_score("as served" if snapshot.models else "the model", snapshot.model),
        Text(trends[0]),
        style="bold green" if snapshot.beats_baselines else "bold yellow",
    )
    for name, score in snapshot.baselines.items():
        table.add_row(*_score(name, score), Text(trends[1] if name == best else "", "dim"))
    return Group(table, Text())


def _windowed(snapshot: Snapshot) -> Mapping[str, Mapping[str, float]]:
    """The task's metrics over the last window, by predictor."""
    served = "as served" if snapshot.models else "the model"
    return {served if name == "model" else name: found.window for name, found in snapshot.metrics.items()}


def task_metrics(task: str, by_predictor: Mapping[str, Mapping[str, float]], over: str) -> list[RenderableType]:
    """A table of a task's metrics, where there are others than the error: not those of single labels."""
    shown = headings(task, by_predictor.values())
    if not shown:
        return []
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(f" {over}", min_width=18)
    for name in shown:
        table.add_column(name.replace("_", " "), justify="right")
    for predictor, found in by_predictor.items():
        table.add_row(f" {predictor}", *(metric(found.get(name)) for name in shown))
    return [table, Text()]


def headings(task: str, found: Iterable[Mapping[str, float]]) -> list[str]:
    """The metrics that are worth a column: none of regression, whose error says it."""
    names = dict.fromkeys(name for one in found for name in one if "[" not in name and name not in _UNSHOWN)
    return [] if task == "regression" else list(names)


def models(snapshot: Snapshot) -> list[RenderableType]:
    """Each model apart, where the pipeline has several."""
    if not snapshot.models:
        return []
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in (" model", "role", "version", "predictions", "joined", f"last {snapshot.window:,}", "whole run"):
        table.add_column(heading, justify="left" if heading in {" model", "role"} else "right")
    for one in snapshot.models:
        version = "/".join(map(str, one.versions.serving)) or "-"
        counted = f"{one.predictions:,}", f"{one.scored:,}"
        table.add_row(f" {one.model}", role_of(one), version, *counted, *_score("", one.score)[1:])
    return [table, Text()]


def role_of(model: ModelStatus) -> str:
    """What a model does on the stream, with a canary's share."""
    return model.role if model.share is None else f"{model.role} {model.share:.3g}"


def _score(name: str, score: Score) -> tuple[str, str, str]:
    return f" {name}", number(score.window), number(score.mean)


def _alerts(snapshot: Snapshot) -> list[RenderableType]:
    return [Text(f" ⚠ {_named(alert, snapshot)}: {alert.message}", "bold yellow") for alert in snapshot.alerts]


def _named(alert: Firing, snapshot: Snapshot) -> str:
    return alert.name if alert.model in ("", snapshot.pipeline) else f"{alert.name} of {alert.model}"


def _quantiles(q: Quantiles) -> str:
    if q.p50 is None or q.p99 is None:
        return "-"
    return f"{duration(q.p50)} p50   {duration(q.p99)} p99"


def sparklines(*lines: Sequence[float], width: int = _TREND) -> list[str]:
    """Each line as bars, all on one scale, from the first point to the last; a bar may be the mean of several."""
    shown = [_thinned(line, width) for line in lines]
    values = [value for line in shown for value in line]
    low, high = min(values, default=0.0), max(values, default=0.0)
    span = (high - low) or 1.0
    return ["".join(_BARS[min(int((v - low) / span * len(_BARS)), len(_BARS) - 1)] for v in line) for line in shown]


def _thinned(line: Sequence[float], width: int) -> list[float]:
    if len(line) <= width:
        return list(line)
    edges = [round(i * len(line) / width) for i in range(width + 1)]
    return [sum(line[a:b]) / (b - a) for a, b in pairwise(edges)]
