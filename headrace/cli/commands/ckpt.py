"""`headrace ckpt status | history`: which worker serves what, and what became of each version; from Kafka alone."""

import time
from collections.abc import Mapping
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from headrace.cli.connect import KafkaOption, RunOption, connect
from headrace.cli.views.rollouts import agent_table, rollout_line, version_table, worker_table
from headrace.launch.run_file import model_of
from headrace.rollouts.history import RolloutHistory
from headrace.rollouts.reading import APPLIED, CHECKPOINTS, REFUSALS, ROLLOUTS, read_history
from headrace.rollouts.view import RolloutView
from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings

HEARD_S = 60.0
"""Workers heard of within so many seconds are shown, those that left or fell silent among them."""
HISTORY_S = 86_400.0

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
    one, fell [bold]silent[/], or has [bold]left[/]. The age is the version's, since its checkpoint.

    Below, what each host's agent took of the version that its workers serve, from the stores and from other agents, and
    what it has given to other agents since it started.

    For example:

      headrace ckpt status

      headrace ckpt status flights --json | jq '.workers[] | select(.state != "serving")'
    """
    now = time.time()
    model = model_of(model, run)
    known = RolloutHistory(model)
    _read(connect(run, kafka_address), known, {CHECKPOINTS: now - HISTORY_S, ROLLOUTS: 0, APPLIED: now - HEARD_S})
    if not known.models:
        raise _unknown(model)
    workers, agents = known.workers(int(now * 1e6)), known.agents(int(now * 1e6))
    views = {name: known.view(name) for name in known.models}
    if as_json:
        fleets = {name: _fleet(view) for name, view in views.items() if view.active is not None}
        _print_json({"active": fleets, "workers": workers, "agents": agents})
        return
    console = Console(highlight=False)
    for name, view in views.items():
        console.print(rollout_line(view), soft_wrap=True)
        its = [worker for worker in workers if worker.model == name]
        console.print(worker_table(its) if its else Text("no worker was heard of in the last minute", "yellow"))
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
    serving, [bold]skipped[/] for a newer one, [bold]refused[/] by a gate of its trainer; or it is [bold]staging[/], on
    a [bold]canary[/], or [bold]waiting[/].

    Took is the time from its publication until every worker that had it ready served it. Pulled are the most bytes that
    travelled to a host, by peers the share of all hosts' bytes that other agents gave. Reports older than a day are
    left out.

    For example:

      headrace ckpt history

      headrace ckpt history flights --last 100 --json | jq '.[].activate_ms'
    """
    model, settings, since = model_of(model, run), connect(run, kafka_address), time.time() - HISTORY_S
    known = RolloutHistory(model)
    _read(settings, known, {CHECKPOINTS: 0, REFUSALS: 0, ROLLOUTS: 0})
    versions = known.versions(last)
    if not versions:
        raise _unknown(model)
    oldest = min((version.published_us for version in versions if version.published_us), default=0) / 1e6
    _read(settings, known, {APPLIED: max(oldest, since)})
    versions = known.versions(last)
    if as_json:
        _print_json(versions)
    else:
        console = Console(highlight=False)
        for name in known.models:
            console.print(Text(name, "bold"))
            console.print(version_table(version for version in versions if version.model == name))


def _read(settings: ServiceSettings, into: RolloutHistory, since: Mapping[str, float]) -> None:
    """Read topics; records that cannot be decoded are named on standard error, and the rest is shown."""
    read_history(
        settings, into, since, lambda what: typer.echo(f"headrace: undecodable record skipped, {what}", err=True)
    )


def _fleet(view: RolloutView) -> dict[str, object]:
    """What a model's workers are to serve, for programs."""
    reason = view.active.reason if view.active is not None else ""
    said: dict[str, object] = {"version": view.active_version, "pinned": view.pinned, "reason": reason}
    if (canary := view.canary) is not None:
        said["canary"] = {
            "version": canary.version, "workers": list(canary.canaries), "until_us": canary.canary_until_us,
        }  # fmt: skip
    return said


def _print_json(body: object) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())


def _unknown(model: str | None) -> ConfigError:
    what = f"of {model!r}" if model else "of any model"
    return ConfigError(f"no version {what} was published", hint="headrace status shows what runs")
