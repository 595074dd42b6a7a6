"""How a run is, for people."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.cli.views.figures import figures
from headrace.launch.run_status import RunStatus
from headrace.launch.specs import State
from headrace.runtime.secrets import masked


def show(status: RunStatus, console: Console) -> None:
    """The run, its processes, and what the monitor counts."""
    state = f"runs, process {status.owner.pid}" if status.owner else "is not running"
    console.print(Text.assemble((status.name, "bold"), f" {state}; {status.folder}"), soft_wrap=True)
    console.print(_processes(status))
    if status.snapshot is not None:
        console.print()
        console.print(*figures(status.snapshot), sep="\n")


def _processes(status: RunStatus) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("process", "state", "pid", "restarts", "addresses"):
        table.add_column(heading)
    supervised = {one.instance: one for one in status.roles}
    for server in status.servers:  # whose state and process are read now, not when the supervisor last wrote
        restarts = supervised.pop(server.name).restarts if server.name in supervised else 0
        pid = str(server.process.pid) if server.process else ""
        table.add_row(server.name, server.state, pid, str(restarts or ""), masked(server.address))
    for role in supervised.values():
        addresses = "  ".join(f"{name} {address}" for name, address in sorted(role.endpoints.items()))
        detail = f" ({role.detail})" if role.detail and role.state is State.FAILED else ""
        table.add_row(role.instance, f"{role.state}{detail}", str(role.pid or ""), str(role.restarts or ""), addresses)
    return table
