"""`headrace ckpt status | history`: which worker serves what, and what became of every version; read from Kafka alone."""

import time
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.cli.connect import KafkaOption, RunOption, connect
from headrace.cli.views.formats import duration
from headrace.contracts.events_pb2 import RolloutDirective
from headrace.launch.run_file import model_of
from headrace.rollouts.agents import AgentLine
from headrace.rollouts.history import Versions
from headrace.rollouts.lines import VersionLine, WorkerLine
from headrace.rollouts.system_topics import APPLIED, CHECKPOINTS, ROLLOUTS, read
from headrace.runtime.errors import ConfigError

HEARD_S = 60.0
"""Workers heard of within so many seconds are shown, those that left or fell silent among them."""
HISTORY_S = 86_400.0
ERROR = "error"  # as services.trainer names the error of its last window
MEGABYTE = 1_000_000
RECENT_S = 12 * 3600
STYLES = {
    "serving": "green", "active": "green", "pinned": "bold yellow", "behind": "yellow", "silent": "red", "left": "dim",
    "retired": "red", "rolled back": "yellow", "taken back": "red", "skipped": "dim", "served": "", "canary": "bold cyan",
    "fenced": "bold red",
}  # fmt: skip

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

Model = Annotated[
    str | None,
    typer.Argument(
        help="a model, or a pipeline for all its models (default: the run's pipeline, else every one)",
        metavar="MODEL",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="for programs")]


@app.callback()
def ckpt() -> None:
    """Which worker serves what, and what became of every version. Read from Kafka alone: no service is asked.

    For example:

      headrace ckpt status

      headrace ckpt history flights --last 50
    """


@app.command()
def status(
    model: Model = None, *, run: RunOption = None, kafka_address: KafkaOption = None, as_json: Json = False
) -> None:
    """Show the fleet: every worker of the last minute, its version and state.

    A worker is [bold]serving[/] the fleet's active version, a [bold]canary[/] of the next one, [bold]behind[/],
    [bold]fenced[/] (behind for so long that it is not ready), has a newer version [bold]staged[/], [bold]refused[/]
    one, fell [bold]silent[/], or has [bold]left[/]. The age is the version's, since its checkpoint. Below, what each
    host's agent took of the version served, from the stores and from other agents, and what it has given to others
    since it started.

    For example:

      headrace ckpt status

      headrace ckpt status flights --json | jq '.workers[] | select(.state != "serving")'
    """
    now = time.time()
    model = model_of(model, run)
    known = Versions(model)
    read(connect(run, kafka_address), known, {CHECKPOINTS: now - HISTORY_S, ROLLOUTS: 0, APPLIED: now - HEARD_S})
    if not known.models:
        raise _unknown(model)
    workers, agents = known.workers(int(now * 1e6)), known.agents(int(now * 1e6))
    active = {name: known.active(name) for name in known.models}
    if as_json:
        fleets = {name: _fleet(a, known.canary(name)) for name, a in active.items() if a}
        _print_json({"active": fleets, "workers": workers, "agents": agents})
        return
    console = Console(highlight=False)
    for name, told in active.items():
        pinned = ", pinned" if told and told.pinned else ""
        said = f"the fleet is to serve version {told.version}{pinned}" if told else "no version is rolled out"
        if canary := known.canary(name):
            who = "1 canary serves" if len(canary.canaries) == 1 else f"{len(canary.canaries)} canaries serve"
            said += f"; {who} {canary.version} until {_clock(canary.canary_until_us)}"
        console.print(Text.assemble((name, "bold"), f": {said}"), soft_wrap=True)
        its = [worker for worker in workers if worker.model == name]
        console.print(fleet_table(its) if its else Text("no worker was heard of in the last minute", "yellow"))
        if its:
            console.print()
            console.print(agent_table(agent for agent in agents if agent.model == name))


@app.command()
def history(
    model: Model = None,
    *,
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="newest versions of each model")] = 20,
    run: RunOption = None,
    kafka_address: KafkaOption = None,
    as_json: Json = False,
) -> None:
    """Show what became of the newest versions, the newest first.

    A version is [bold]active[/], or [bold]pinned[/] by a roll back; it was [bold]served[/] before, [bold]rolled back[/]
    by an operator, [bold]taken back[/] by itself (why says what spoke against it), [bold]retired[/] without ever
    serving, [bold]skipped[/] for a newer one; or it is [bold]staging[/], on a [bold]canary[/], or [bold]waiting[/]. It
    took so long from its publication until every worker that had it ready served it. Pulled are the most bytes that
    travelled to a host, by peers the share of all hosts' that other agents gave. Steps older than a day are left out.

    For example:

      headrace ckpt history

      headrace ckpt history flights --last 100 --json | jq '.[].activate_ms'
    """
    model, settings, since = model_of(model, run), connect(run, kafka_address), time.time() - HISTORY_S
    known = Versions(model)
    read(settings, known, {CHECKPOINTS: 0, ROLLOUTS: 0})
    lines = known.history(last)
    if not lines:
        raise _unknown(model)
    oldest = min((line.published_us for line in lines if line.published_us), default=0) / 1e6
    read(settings, known, {APPLIED: max(oldest, since)})
    lines = known.history(last)
    if as_json:
        _print_json(lines)
    else:
        console = Console(highlight=False)
        for name in known.models:
            console.print(Text(name, "bold"))
            console.print(history_table(line for line in lines if line.model == name))


def _fleet(active: RolloutDirective, canary: RolloutDirective | None) -> dict[str, object]:
    """What a model's workers are to serve, for programs."""
    said: dict[str, object] = {"version": active.version, "pinned": active.pinned, "reason": active.reason}
    if canary is not None:
        said["canary"] = {
            "version": canary.version, "workers": list(canary.canaries), "until_us": canary.canary_until_us,
        }  # fmt: skip
    return said


def fleet_table(workers: Iterable[WorkerLine]) -> Table:
    """One model's workers, for people."""
    table = _table("worker", "role", "host", "version>", "state", "age>", "heard>", "")
    for w in workers:
        age = duration(w.age_s) if w.age_s is not None else "-"
        heard = f"{duration(w.heard_s)} ago"
        table.add_row(w.worker, w.role, w.host, str(w.version or "-"), _state(w.state), age, heard, Text(_why(w)))
    return table


def _why(worker: WorkerLine) -> str:
    """What is wrong with a worker, or particular."""
    said = []
    if worker.state in {"fenced", "behind"}:
        canary = ", as a canary" if worker.canary else ""
        said.append(f"is to serve {worker.meant}{canary}")
    if worker.fenced:
        said.append("not ready")
    return ": ".join(part for part in ("; ".join(said), worker.error) if part)


def agent_table(agents: Iterable[AgentLine]) -> Table:
    """One model's agents, for people."""
    table = _table("agent", "host", "workers>", "version>", "from store>", "from peers>", "to peers>", "address")
    for a in agents:
        moved = (_bytes(count) for count in (a.from_store, a.from_peers, a.to_peers))
        table.add_row(a.agent, a.host, str(a.workers), str(a.version or "-"), *moved, a.address or "-")
    return table


def history_table(lines: Iterable[VersionLine]) -> Table:
    """One model's versions, for people.

    The bytes are a payload's, and the most of it that travelled to a host, beside the share of all hosts' that came
    from other agents, where any did; the error is the trainer's over its last window.
    """
    shown = list(lines)
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


def _print_json(body: object) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())


def _unknown(model: str | None) -> ConfigError:
    what = f"of {model!r}" if model else "of any model"
    return ConfigError(f"no version {what} was published", hint="headrace status shows what runs")
