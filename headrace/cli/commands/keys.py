"""`headrace keys create | list | revoke`: who may call the services."""

import getpass
import time
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from headrace.cli.connect import KafkaOption, RunOption, connect
from headrace.cli.views.keys import duration, table
from headrace.contracts.access import Scope
from headrace.runtime.access.key_topic import read_keys, write_key
from headrace.runtime.access.keys import make_key
from headrace.runtime.errors import ConfigError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""API keys of the services. They are asked for where a role runs with --auth required.

For example:

  headrace keys create checkout --scope predict --expires 90d

  headrace keys list

  headrace keys revoke 3f9c0a17be42
""",
)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="whose key it is, for lists and the audit")],
    *,
    scope: Annotated[list[Scope], typer.Option(help="what it may do; several times for several")],
    expires: Annotated[str | None, typer.Option(help="how long it is valid: 12h, 90d (default: until revoked)")] = None,
    rate: Annotated[float, typer.Option(min=0, help="requests a second that each process lets through; 0: any")] = 0.0,
    burst: Annotated[int, typer.Option(min=0, help="requests at once; 0: as many as in a second")] = 0,
    run: RunOption = None,
    kafka_address: KafkaOption = None,
) -> None:
    """Make a key and print it. It is printed this once: only its digest is kept."""
    valid_for = None if expires is None else duration(expires)
    by = getpass.getuser()
    key, record = make_key(name, tuple(scope), valid_for=valid_for, rate=rate, burst=burst, created_by=by)
    write_key(connect(run, kafka_address), record)
    typer.echo(key)
    typer.echo(f"key {record.id}: keep it; it is not shown again", err=True)


@app.command("list")
def list_(
    *,
    json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
    run: RunOption = None,
    kafka_address: KafkaOption = None,
) -> None:
    """List the keys: whose, for what, until when."""
    keys = read_keys(connect(run, kafka_address))
    if json:
        for key in keys:
            typer.echo(msgspec.json.encode(key))
    else:
        Console().print(table(keys, time.time()))


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="the key's id, as `headrace keys list` shows it, or the key itself")],
    *,
    run: RunOption = None,
    kafka_address: KafkaOption = None,
) -> None:
    """Have a key refused from now on, everywhere."""
    settings = connect(run, kafka_address)
    wanted = key.removeprefix("hr_")[:12]
    record = next((one for one in read_keys(settings) if one.id == wanted), None)
    if record is None:
        raise ConfigError(f"no key has the id {wanted!r}", hint="headrace keys list")
    if record.revoked_us:
        typer.echo(f"key {record.id} ({record.name}) was revoked before", err=True)
        return
    write_key(settings, msgspec.structs.replace(record, revoked_us=time.time_ns() // 1000))
    typer.echo(f"key {record.id} ({record.name}) is revoked", err=True)
