"""`headrace run ROLE`: one role in this process."""

import os
import sys
from typing import Annotated

import typer

from headrace.launch.roles import ROLES, role

app = typer.Typer(rich_markup_mode="rich")

_HELP = "one of: " + ", ".join(r.name for r in ROLES)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": ["-h"]},
    options_metavar="",
)
def run(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="ROLE", help=_HELP, autocompletion=lambda: [r.name for r in ROLES])],
) -> None:
    """Run one role in this process, as a container or a supervisor would; everything after ROLE are its settings.

    Kafka and Redis come from KAFKA_BOOTSTRAP_SERVERS and REDIS_URL. `headrace run ROLE --help` lists the role's
    settings.

    For example:

      headrace run stream --pipeline examples/rides

      headrace run gateway --pipeline examples/rides --host 0.0.0.0 --log-format json
    """
    if name == "--help":  # `--help` after ROLE is the role's own, so typer does not take it before ROLE either
        typer.echo(context.get_help())
        return
    chosen = role(name)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", chosen.module, *context.args])  # noqa: S606 - no shell
