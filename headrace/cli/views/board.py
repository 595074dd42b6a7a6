"""The status board: one moment of a run as a rich renderable, for a terminal of 80 columns and more."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from headrace.contracts.snapshot import Canary, Firing, ModelStatus, Quantiles, Score, Snapshot
from headrace.launch.observe import LogLine, View, endpoint
from headrace.launch.specs import RoleStatus, State

_BARS = "▁▂▃▄▅▆▇█"
_MARKS = {
    State.READY: ("●", "green"),
    State.STARTING: ("◐", "yellow"),
    State.WAITING: ("○", "yellow"),
    State.STOPPING: ("◐", "blue"),
    State.STOPPED: ("○", "dim"),
    State.FINISHED: ("●", "dim"),
    State.FAILED: ("✗", "bold red"),
}
_LEVELS = {"warning": "yellow", "error": "red", "critical": "bold red", "debug": "dim"}
_TREND = 32
_NAMED = 3  # canaries
PRODUCE = "produce"


class Board:
    """Renders a view into the height that there is: the log gets what the rest leaves."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Rich's protocol."""
        parts = [_header(self._view), *numbers(self._view.snapshot), _roles(self._view.roles)]
        height = options.height or console.height
        used = sum(len(console.render_lines(part, options.update(height=None), pad=False)) for part in parts)
        yield Group(*parts, *_log(self._view.log, height - used - 2), _where(self._view.roles))


def _header(view: View) -> RenderableType:
    line = Table.grid(expand=True)
    line.add_column()
    line.add_column(justify="right")
    title = Text.assemble((" headrace ", "bold reverse"), "  ", (view.title, "bold"), "  ", (view.phase, "cyan"))
    line.add_row(title, Text(f"{clock(view.elapsed_s)}  Ctrl-C stops in order", "dim"))
    return Group(line, Rule(style="dim"))


def numbers(snapshot: Snapshot | None) -> list[RenderableType]:
    """What the monitor counts, measures and alerts about."""
    if snapshot is None:
        return [Text(" starting; the numbers come with the monitor ...\n", "dim")]
    flow = Table.grid(padding=(0, 2), expand=True)
    for justify in ("left", "right", "right", "left", "left"):
        flow.add_column(justify=justify, no_wrap=True)
    flow.columns[4].ratio = 1
    for row in _flow_rows(snapshot):
        flow.add_row(*row)
    return [flow, *_canaries(snapshot), _sink(snapshot), _errors(snapshot), *models(snapshot), *_alerts(snapshot)]


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
                (f" ({names}), {_to_go(canary, snapshot)}", "dim"),
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


def _to_go(canary: Canary, snapshot: Snapshot) -> str:
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
    table.add_column(f" mean error{unit}", min_width=18)
    table.add_column(f"last {snapshot.window:,}", justify="right")
    table.add_column("whole run", justify="right")
    table.add_column("over time", min_width=_TREND)
    best = best_baseline(snapshot)
    lines = [[p.model for p in snapshot.history], [p.baseline for p in snapshot.history if p.baseline is not None]]
    trends = sparklines(*lines)
    wins = best is None or (snapshot.model.window or 0) <= (snapshot.baselines[best].window or 0)
    table.add_row(
        *_score("as served" if snapshot.models else "the model", snapshot.model),
        Text(trends[0]),
        style="bold green" if wins else "bold yellow",
    )
    for name, score in snapshot.baselines.items():
        table.add_row(*_score(name, score), Text(trends[1] if name == best else "", "dim"))
    return Group(table, Text())


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


def _roles(roles: Sequence[RoleStatus]) -> RenderableType:
    grid = Table.grid(expand=True, padding=(0, 1))
    across = 3
    for _ in range(across):
        grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    cells = [_role(role) for role in roles]
    for i in range(0, len(cells), across):
        grid.add_row(*cells[i : i + across])
    return Group(grid, Rule(style="dim"))


def _role(role: RoleStatus) -> Text:
    replaying = role.role == PRODUCE and role.state is State.STARTING  # a command, which never says that it is ready
    mark, style = _MARKS[State.READY if replaying else role.state]
    cell = Text.assemble(" ", (mark, style), f" {role.instance:<12}")
    if role.state is not State.READY:
        cell.append("replaying" if replaying else f"{role.state}", "dim")
    if role.restarts:
        cell.append(f" ↻{role.restarts}", "yellow")
    return cell


def _log(lines: Sequence[LogLine], room: int) -> list[RenderableType]:
    shown = [line for line in lines if line.level != "debug"][-room:] if room > 0 else []
    return [
        Text(f" {line.role:<12} {line.text}", _LEVELS.get(line.level, "dim"), no_wrap=True, overflow="ellipsis")
        for line in shown
    ]


def addresses(roles: Sequence[RoleStatus]) -> list[tuple[str, str]]:
    """Addresses worth opening, as far as they are published."""
    wanted = (
        ("gateway", "gateway", "rest"),
        ("v2 gRPC", "rpc", "grpc"),
        ("v2 REST", "rpc", "rest"),
        ("ingest", "ingest", "rest"),
    )
    found = ((what, endpoint(roles, role, name)) for what, role, name in wanted)
    return [(what, address) for what, address in found if address is not None]


def _where(roles: Sequence[RoleStatus]) -> Text:
    line = Text("", no_wrap=True, overflow="ellipsis", end="")
    for what, address in addresses(roles):
        line.append(f" {what} ", "dim").append(f"{address} ", "cyan")
    return line


def _quantiles(q: Quantiles) -> str:
    if q.p50 is None or q.p99 is None:
        return "-"
    return f"{duration(q.p50)} p50   {duration(q.p99)} p99"


def best_baseline(snapshot: Snapshot) -> str | None:
    """The baseline with the lowest moving error."""
    known = {name: score.window for name, score in snapshot.baselines.items() if score.window is not None}
    return min(known, key=lambda name: known[name], default=None)


def sparklines(*lines: Sequence[float], width: int = _TREND) -> list[str]:
    """Each line as bars, all on one scale and all the way from the first point, several points to a bar where need be."""
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


def number(value: float | None) -> str:
    """Three or four digits that matter."""
    if value is None:
        return "-"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Milliseconds below a second, else seconds."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def plain(view: View) -> str:
    """One moment on one line, for logs."""
    services = [role for role in view.roles if role.role != PRODUCE]
    up = sum(role.state is State.READY for role in services)
    start = f"{clock(view.elapsed_s)} {view.phase:<9} ready {up}/{len(services)}"
    if (restarts := sum(role.restarts for role in view.roles)) > 0:
        start += f" restarts {restarts}"
    s = view.snapshot
    if s is None:
        return start
    parts = [
        start,
        f"events {s.counts.events:,} ({s.rates.events:,.0f}/s)",
        f"predicted {s.counts.predictions:,} (lag {s.counts.unpredicted:,})",
        f"joined {s.counts.joined:,}",
        f"version {'/'.join(map(str, s.versions.serving)) or '-'} (newest {s.versions.newest})",
    ]
    parts += [
        f"canary {canary.version}{model} on {len(canary.workers)}/{workers}, {_to_go(canary, s)}"
        for model, canary, workers in canaries_of(s)
    ]
    if s.model.window is not None:
        others = ", ".join(f"{name} {number(score.window)}" for name, score in s.baselines.items())
        parts.append(f"error {number(s.model.window)}{' vs ' + others if others else ''} {s.error_unit}".rstrip())
    if s.models:
        parts.append(", ".join(f"{one.model} ({role_of(one)}) {number(one.score.window)}" for one in s.models))
    if s.freshness.p50 is not None:
        parts.append(f"fresh {duration(s.freshness.p50)}")
    if s.counts.duplicates or s.counts.missing:
        parts.append(f"DUPLICATES {s.counts.duplicates:,} MISSING {s.counts.missing:,}")
    return " | ".join(parts)
