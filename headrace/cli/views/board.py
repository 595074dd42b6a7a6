"""The status board: one moment of a run as a rich renderable, for a terminal of 80 columns and more."""

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from headrace.cli.views.figures import figures
from headrace.cli.views.formats import clock
from headrace.launch.observe import LogLine, View, endpoint
from headrace.launch.specs import RoleStatus, State

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
PRODUCE = "produce"
"""The role that replays: a command, which never says that it is ready."""


class Board:
    """Renders a view into the height that there is: the log gets what the rest leaves."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Rich's protocol."""
        parts = [_header(self._view), *figures(self._view.snapshot), _roles(self._view.roles)]
        height = options.height or console.height
        used = sum(len(console.render_lines(part, options.update(height=None), pad=False)) for part in parts)
        yield Group(*parts, *_log(self._view.log, height - used - 2), _where(self._view.roles))


def _header(view: View) -> RenderableType:
    line = Table.grid(expand=True)
    line.add_column()
    line.add_column(justify="right")
    title = Text.assemble((" headrace ", "bold reverse"), "  ", (view.title, "bold"), "  ", (view.phase, "cyan"))
    line.add_row(title, Text(f"{clock(view.elapsed_s)}  Ctrl-C stops in order", "dim"))
    page = page_address(view.roles)
    where = Text.assemble((f" {page or 'comes with the gateway'}", "bold cyan" if page else "dim"), no_wrap=True)
    line.add_row(Text.assemble((" the page", "dim"), where), "")
    return Group(line, Rule(style="dim"))


def page_address(roles: Sequence[RoleStatus]) -> str | None:
    """Where a browser finds the page; None before the gateway is ready."""
    ready = [role for role in roles if role.state is State.READY]
    return endpoint(ready, "gateway", "rest")


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
    replaying = role.role == PRODUCE and role.state is State.STARTING
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
        ("page", "gateway", "rest"),
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
