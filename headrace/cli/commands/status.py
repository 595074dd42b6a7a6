"""`headrace status`: what runs, how fast, how well."""

from typing import Annotated

import msgspec
import typer
from rich.console import Console

from headrace.cli.connect import RunOption
from headrace.cli.views.status import show
from headrace.launch.run_status import status_of
from headrace.runtime.errors import ExitCode


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
    found = status_of(run)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found.as_dict()), indent=2).decode())
    else:
        show(found, Console())
    if found.owner is None:
        raise typer.Exit(int(ExitCode.DEPENDENCY))
