"""`headrace up`: platform and services for a pipeline, until Ctrl-C."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from headrace.cli.views.watch import Interrupts, Watcher, is_terminal
from headrace.launch import runs
from headrace.launch.pipeline_run import PipelineRun, Replay


def up(
    folder: Annotated[Path, typer.Argument(help="the pipeline's folder")],
    *,
    replay: Annotated[bool, typer.Option("--replay", help="also replay the pipeline's own source")] = False,
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", help="replay data sets of the run's storage instead; repeatable")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="a line every two seconds instead of the board")] = False,
    core: Annotated[bool, typer.Option("--core", help="only the roles that predict and learn")] = False,
    run_dir: Annotated[Path | None, typer.Option(help="the run's folder (default: by the pipeline's name)")] = None,
) -> None:
    """Start Kafka, Redis and every service for a pipeline and show how it goes, until Ctrl-C or `headrace down`.

    Topics, checkpoints and logs stay in the run's folder; the next `up` goes on from there. With
    KAFKA_BOOTSTRAP_SERVERS or REDIS_URL set, those are used instead of our own.

    For example:

      headrace up examples/rides --replay

      headrace up my-pipeline --plain

      headrace up my-pipeline --dataset rides@3
    """
    pipeline = folder.resolve()
    run = PipelineRun(
        pipeline,
        runs.create(runs.name_for(pipeline), run_dir),
        Replay(datasets=dataset or ()) if replay or dataset else None,
        core=core,
    )
    console = Console(stderr=True)
    console.print(f"[dim]starting Kafka and Redis for {run.spec.name} in {run.run_dir} ...[/]", soft_wrap=True)
    with Interrupts() as interrupts, run:
        run.start()
        interrupts.started()
        watcher = Watcher(run, f"up {run.spec.name}", interrupts, plain or not is_terminal())
        with watcher.screen():
            watcher.watch(lambda: False)
        console.print("[dim]stopping the services ...[/]")
    console.print(f"stopped; topics, checkpoints and logs are in {run.run_dir}", soft_wrap=True)
