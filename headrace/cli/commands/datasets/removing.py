"""`headrace datasets remove`: versions that nobody needs."""

from typing import Annotated

import typer

from headrace.cli.commands.datasets.reading import SetArgument
from headrace.cli.connect import KafkaOption, RunOption, connect_to_stores
from headrace.runtime.errors import ConfigError

app = typer.Typer()


@app.command()
def remove(
    name: SetArgument,
    *,
    keep: Annotated[
        int | None, typer.Option(min=1, help="remove the oldest versions of the set, but for the newest so many")
    ] = None,
    kafka: KafkaOption = None,
    run: RunOption = None,
) -> None:
    """Remove a version with its files, or the oldest ones; never one that a served version's lineage needs.

    For example:

      headrace datasets remove rides@1

      headrace datasets remove rides --keep 5
    """
    from headrace.datasets.names import wanted
    from headrace.datasets.opening import open_access
    from headrace.datasets.retention import apply_retention
    from headrace.datasets.retention import remove as remove_one

    asked = wanted(name)
    if (asked.version is None) == (keep is None):
        raise ConfigError("remove which?", hint="name@version, or name --keep N")
    access = open_access(connect_to_stores(run, kafka))
    if keep is None:
        manifest = access.catalogue.manifest(asked)
        remove_one(access, manifest)
        typer.echo(f"removed {manifest.set}")
        return
    access.catalogue.manifest(asked)
    gone, kept = apply_retention(access, asked.name, keep)
    typer.echo(f"removed {', '.join(gone) or 'nothing'}")
    for one, reason in kept.items():
        typer.echo(f"kept {one}: {reason}", err=True)
