"""How a rollout looks to people: what the fleet is to serve in one line; workers, agents and versions as tables."""

import time
from collections.abc import Iterable
from datetime import datetime

from rich.table import Table
from rich.text import Text

from headrace.cli.views.formats import duration
from headrace.contracts.events_pb2 import RolloutDirective
from headrace.rollouts.status import AgentStatus, VersionStatus, WorkerStatus
from headrace.rollouts.view import RolloutView

ERROR = "error"  # as services.trainer names the error of its last window
MEGABYTE = 1_000_000
RECENT_S = 12 * 3600
STYLES = {
    "serving": "green", "active": "green", "pinned": "bold yellow", "behind": "yellow", "silent": "red", "left": "dim",
    "retired": "red", "rolled back": "yellow", "taken back": "red", "skipped": "dim", "served": "",
    "canary": "bold cyan", "fenced": "bold red",
}  # fmt: skip


def rollout_line(view: RolloutView) -> Text:
    """What a model's fleet is to serve, in one line."""
    if view.active is None:
        return Text.assemble((view.model, "bold"), ": no version is rolled out")
    said = f"the fleet is to serve version {view.active_version}{', pinned' if view.pinned else ''}"
    if (canary := view.canary) is not None:
        who = "1 canary serves" if len(canary.canaries) == 1 else f"{len(canary.canaries)} canaries serve"
        said += f"; {who} {canary.version} until {_until(canary)}"
    return Text.assemble((view.model, "bold"), f": {said}")


def _until(canary: RolloutDirective) -> str:
    return _clock(canary.canary_until_us) if canary.canary_until_us else "an operator goes on"


def worker_table(workers: Iterable[WorkerStatus]) -> Table:
    """One model's workers, for people."""
    table = _table("worker", "role", "host", "version>", "state", "age>", "heard>", "")
    for w in workers:
        age = duration(w.age_s) if w.age_s is not None else "-"
        heard = f"{duration(w.heard_s)} ago"
        table.add_row(w.worker, w.role, w.host, str(w.version or "-"), _state(w.state), age, heard, Text(_why(w)))
    return table


def _why(worker: WorkerStatus) -> str:
    """What is wrong with a worker, or particular."""
    said = []
    if worker.state in {"fenced", "behind"}:
        canary = ", as a canary" if worker.canary else ""
        said.append(f"is to serve {worker.meant}{canary}")
    if worker.fenced:
        said.append("not ready")
    return ": ".join(part for part in ("; ".join(said), worker.error) if part)


def agent_table(agents: Iterable[AgentStatus]) -> Table:
    """One model's agents, for people."""
    table = _table("agent", "host", "workers>", "version>", "from store>", "from peers>", "to peers>", "address")
    for a in agents:
        moved = (_bytes(count) for count in (a.from_store, a.from_peers, a.to_peers))
        table.add_row(a.agent, a.host, str(a.workers), str(a.version or "-"), *moved, a.address or "-")
    return table


def version_table(versions: Iterable[VersionStatus]) -> Table:
    """One model's versions, for people.

    The bytes are a payload's, and the most of it that travelled to a host, beside the share of all hosts' that came
    from other agents, where any did; the error is the trainer's over its last window.
    """
    shown = list(versions)
    peers = ["by peers>"] if any(v.from_peers for v in shown) else []
    table = _table("version>", "published", "size>", "pulled>", *peers, "error>", "activated", "took>", "state", "why")
    for v in shown:
        error = v.metrics.get(ERROR)
        took = f"{v.activate_ms:,.0f} ms" if v.activate_ms is not None else "-"
        table.add_row(
            str(v.version), _clock(v.published_us), _bytes(v.size) if v.size else "-",
            _bytes(v.pulled) if v.pulled is not None else "-", *(_share(v.from_peers, v.from_stores) for _ in peers),
            f"{error:.4g}" if error is not None else "-", _clock(v.activated_us), took, _state(v.state), Text(v.reason),
        )  # fmt: skip
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in headings:
        right = heading.endswith(">")
        table.add_column(
            heading.removesuffix(">"), justify="right" if right else "left", no_wrap=heading not in {"", "why"}
        )
    return table


def _state(state: str) -> Text:
    return Text(state, STYLES.get(state, "red" if state.startswith("refused") else "cyan"))


def _bytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= MEGABYTE else f"{count / 1e3:,.1f} kB"


def _share(part: int, rest: int) -> str:
    return f"{100 * part / (part + rest):.0f} %" if part else "-"


def _clock(us: int) -> str:
    """The time of day here; the date instead of the seconds where it is longer ago."""
    when = datetime.fromtimestamp(us / 1e6).astimezone()
    recent = time.time() - us / 1e6 < RECENT_S
    return when.strftime("%H:%M:%S" if recent else "%m-%d %H:%M") if us else "-"
