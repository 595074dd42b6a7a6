"""`headrace down`: stop what `up` or `demo` started."""

from typing import Annotated

import typer

from headrace.cli.connect import RunOption
from headrace.launch import runs


def down(
    run: RunOption = None,
    timeout: Annotated[float, typer.Option(min=1, help="seconds to wait before the run is killed")] = 60.0,
) -> None:
    """Stop a run in order: the replay, the services, Redis, Kafka. Its topics, checkpoints and logs stay in its folder.

    For example:

      headrace down

      headrace down --run-dir demo-flights
    """
    folder = runs.find(run)
    owner = runs.describe(folder).owner
    if owner is None:
        typer.echo(f"{folder.name} is not running")
        return
    typer.echo(f"stopping {folder.name} (process {owner.pid}) ...")
    runs.stop(folder, timeout)
    typer.echo(f"stopped; its logs are in {folder / 'logs'}")
