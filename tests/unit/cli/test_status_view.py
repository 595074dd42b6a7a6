"""`headrace status` shows each process once; of a server, what is true now, and how often it was started again."""

import io
from pathlib import Path

from rich.console import Console

from headrace.cli.views.status import show
from headrace.launch.run_status import RunStatus
from headrace.launch.specs import RoleStatus, State
from headrace.platform.process import ProcessId
from headrace.platform.state import ServerStatus

SERVERS = [
    ServerStatus("kafka", "running", "127.0.0.1:9092", ProcessId(11, 1.0)),
    ServerStatus("redis", "external", "redis://:password@cache:6379/0", None),
]
ROLES = [
    RoleStatus("kafka", "kafka", 7, State.READY, 2, -9, {"kafka": "127.0.0.1:9092"}, 0.0),
    RoleStatus("stream", "stream", 12, State.READY, 0, None, {"ops": "http://127.0.0.1:1"}, 0.0),
]


def test_a_server_has_one_row_with_its_restarts() -> None:
    shown = io.StringIO()
    console = Console(width=120, file=shown)
    show(RunStatus("river", Path("/runs/river"), None, SERVERS, ROLES, None), console)
    rows = [line.split() for line in shown.getvalue().splitlines()[1:]]
    assert rows == [
        ["process", "state", "pid", "restarts", "addresses"],
        ["kafka", "running", "11", "2", "127.0.0.1:9092"],
        ["redis", "external", "redis://:***@cache:6379/0"],
        ["stream", "ready", "12", "ops", "http://127.0.0.1:1"],
    ]
