"""`headrace status`: what runs, how fast, how well."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.cli.connect import RunOption
from headrace.cli.views.board import numbers
from headrace.launch import runs
from headrace.launch.observe import read_snapshot
from headrace.launch.specs import RoleStatus, State
from headrace.launch.supervisor import SUPERVISOR_FILE
from headrace.platform.files import read_json
from headrace.platform.state import read_status
from headrace.runtime.errors import ExitCode
from headrace.runtime.secrets import masked


def status(
    run: RunOption = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Show a run: its processes and addresses, and what the monitor counts. Exits with 3 if it is not running.

    For example:

      headrace status

      headrace status --run-dir demo-flights --json | jq .snapshot.counts
    """
    folder = runs.find(run)
    found = runs.describe(folder)
    roles = roles_of(folder)
    snapshot = read_snapshot(roles) if found.owner else None
    if as_json:
        body: dict[str, Any] = {
            "run": found.name,
            "folder": str(folder),
            "running": found.owner is not None,
            "roles": [role.as_dict() for role in roles],
            "snapshot": snapshot,
        }
        typer.echo(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())
    else:
        console = Console()
        state = f"runs, process {found.owner.pid}" if found.owner else "is not running"
        console.print(Text.assemble((found.name, "bold"), f" {state}; {folder}"), soft_wrap=True)
        console.print(_processes(folder, roles))
        if snapshot is not None:
            console.print()
            console.print(*numbers(snapshot), sep="\n")
    if found.owner is None:
        raise typer.Exit(int(ExitCode.DEPENDENCY))


def roles_of(folder: Path) -> list[RoleStatus]:
    """How the roles were when the supervisor last wrote; none where there is no supervisor's file."""
    known = read_json(folder / SUPERVISOR_FILE) or {}
    roles = []
    for one in known.get("roles", []):
        fields = {**one, "state": State(one["state"])}
        roles.append(RoleStatus(**{name: fields[name] for name in RoleStatus.__dataclass_fields__ if name in fields}))
    return roles


def _processes(folder: Path, roles: list[RoleStatus]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("process", "state", "pid", "restarts", "addresses"):
        table.add_column(heading)
    for server in read_status(folder / "platform").servers:
        table.add_row(
            server.name, server.state, str(server.process.pid) if server.process else "", "", masked(server.address)
        )
    for role in roles:
        addresses = "  ".join(f"{name} {address}" for name, address in sorted(role.endpoints.items()))
        detail = f" ({role.detail})" if role.detail and role.state is State.FAILED else ""
        table.add_row(role.instance, f"{role.state}{detail}", str(role.pid or ""), str(role.restarts or ""), addresses)
    return table
