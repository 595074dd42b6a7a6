"""How a run is: its processes, their addresses, and the monitor's numbers; for the command line, programs and pages."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.contracts.snapshot import Snapshot
from headrace.launch import runs
from headrace.launch.observe import read_snapshot
from headrace.launch.specs import RoleStatus, State
from headrace.launch.supervisor import SUPERVISOR_FILE
from headrace.platform.files import read_json
from headrace.platform.process import ProcessId
from headrace.platform.state import ServerStatus, read_status
from headrace.runtime.errors import DependencyError


@dataclass(frozen=True)
class RunStatus:
    """A run at one moment. `owner` is the process that keeps it going, None where it does not run."""

    name: str
    folder: Path
    owner: ProcessId | None
    servers: list[ServerStatus]
    roles: list[RoleStatus]
    snapshot: Snapshot | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for programs."""
        return {
            "run": self.name,
            "folder": str(self.folder),
            "running": self.owner is not None,
            "roles": [role.as_dict() for role in self.roles],
            "snapshot": self.snapshot,
        }


def status_of(run: str | None) -> RunStatus:
    """The status of a run, by name or folder; of the last one started where none is named.

    Raises:
        ConfigError: there is no such run.
    """
    folder = runs.find(run)
    found, roles = runs.describe(folder), roles_of(folder)
    snapshot = read_snapshot(roles) if found.owner else None
    return RunStatus(found.name, folder, found.owner, read_status(folder / "platform").servers, roles, snapshot)


def ready_address(run: str | None, role: str, name: str) -> str:
    """The address that a role of the run published under `name`.

    Raises:
        ConfigError: there is no such run.
        DependencyError: no instance of the role is ready.
    """
    for one in roles_of(runs.find(run)):
        if one.role == role and one.state is State.READY and name in one.endpoints:
            return one.endpoints[name]
    raise DependencyError(f"no role `{role}` is ready", hint="headrace status shows what runs")


def roles_of(folder: Path) -> list[RoleStatus]:
    """How the roles were when the supervisor last wrote; empty where the supervisor has written no file."""
    known = read_json(folder / SUPERVISOR_FILE) or {}
    roles = []
    for one in known.get("roles", []):
        fields = {**one, "state": State(one["state"])}
        roles.append(RoleStatus(**{name: fields[name] for name in RoleStatus.__dataclass_fields__ if name in fields}))
    return roles
