"""`headrace demo`: a whole run of an example on this machine."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from headrace.cli.views.summary import show
from headrace.cli.views.watch import Interrupts, Watcher, is_terminal
from headrace.launch import runs
from headrace.launch.examples import find_example
from headrace.launch.pipeline_run import PipelineRun, Replay, fresh_folder
from headrace.launch.summary import Summary, summarize, write
from headrace.runtime.errors import ExitCode

UNWATCHED_S = 60.0
"""How long a demo runs when its output is not a terminal and no --duration is given."""


def demo(
    example: Annotated[
        str, typer.Argument(help="flights, rides, or a pipeline's folder", show_default=True)
    ] = "flights",
    *,
    duration: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="seconds to go on after the first prediction (default: until Ctrl-C; 60 without a terminal)",
        ),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="a line every two seconds instead of the board")] = False,
    summary: Annotated[Path | None, typer.Option(help="write the summary to this file, as JSON")] = None,
    speed: Annotated[float | None, typer.Option(min=0, help="event-time seconds replayed in one second")] = None,
    rate: Annotated[float | None, typer.Option(min=0, help="events a second, instead of event time")] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="go on with what the demo before learned, instead of afresh")
    ] = False,
    core: Annotated[bool, typer.Option("--core", help="only the roles that predict and learn")] = False,
    secure: Annotated[
        bool, typer.Option("--secure", help="Kafka with TLS, passwords and ACLs, one principal a role; Redis with one")
    ] = False,
    run_dir: Annotated[Path | None, typer.Option(help="the run's folder (default: by the example's name)")] = None,
) -> None:
    """Run everything on this machine: Kafka, Redis, every service, and real events replayed in their true order.

    A board shows events arriving, predictions leaving, weights changing, and the error falling below the baselines'. It
    ends with Ctrl-C, at the source's end, or after --duration: first the replay, then, once everything is predicted,
    the services, then a summary. Exits with 5 if an event was not predicted, or twice.

    For example:

      headrace demo

      headrace demo rides --rate 2000

      headrace demo flights --plain --duration 60 --summary summary.json
    """
    folder = find_example(example)
    name = f"demo-{folder.name}"
    made = runs.create(name, run_dir) if keep else fresh_folder(name, run_dir)
    as_lines = plain or not is_terminal()
    seconds = duration if duration is not None else UNWATCHED_S if not is_terminal() else None
    run = PipelineRun(folder, made, Replay(speed, rate), core=core, secure=secure)
    result = _run(run, seconds, as_lines=as_lines)
    show(result, Console())
    if summary is not None:
        write(result, summary)
    if not result.ok:
        raise typer.Exit(int(ExitCode.DATA))


def _run(run: PipelineRun, seconds: float | None, *, as_lines: bool) -> Summary:
    console = Console(stderr=True)
    console.print(f"[dim]starting Kafka and Redis for {run.spec.name} in {run.run_dir} ...[/]", soft_wrap=True)
    with Interrupts() as interrupts, run:
        watcher = Watcher(run, f"demo {run.spec.name}", interrupts, as_lines)
        run.start()
        interrupts.started()
        with watcher.screen():
            watcher.watch(lambda: run.replay_is_over or watcher.predicting_s >= (seconds or float("inf")))
            drained = watcher.drain()
            result = summarize(
                run, watcher.snapshot, seconds=time.monotonic() - watcher.since, drained=drained,
                first=watcher.first_prediction_s,
            )  # fmt: skip
            run.phase = "stopping"
            watcher.look()
        console.print("[dim]stopping the services ...[/]")
    return result
