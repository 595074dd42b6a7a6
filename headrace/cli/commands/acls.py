"""`headrace acls`: what each role's principal must be allowed on Kafka."""

from typing import Annotated, Any

import msgspec
import typer
import yaml
from rich.console import Console
from rich.table import Table

from headrace.cli.connect import KafkaOption, RunOption, connect
from headrace.runtime import kafka
from headrace.security import acls as access
from headrace.security.acls import Allowed


def acls(
    pipelines: Annotated[list[str], typer.Argument(help="names of the pipelines whose topics are to be used")],
    *,
    principal: Annotated[list[str] | None, typer.Option(help="only of this role; several times for several")] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
    strimzi: Annotated[bool, typer.Option("--strimzi", help="KafkaUser resources for Strimzi's operator")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="have the broker allow it")] = False,
    run: RunOption = None,
    kafka_address: KafkaOption = None,
) -> None:
    """List the permissions that the roles need, from the topic catalogue: a principal a role, and no more.

    `operator` is whoever uses this command line.

    For example:

      headrace acls rides

      headrace acls rides flights --strimzi > kafka-users.yaml

      headrace acls rides --apply --kafka kafka.example:9093
    """
    allowed = [one for one in access.permissions(pipelines) if not principal or one.principal in principal]
    if apply:
        count = access.apply(kafka.admin(connect(run, kafka_address)), allowed)
        typer.echo(f"{count} permissions are allowed", err=True)
    elif json:
        for one in allowed:
            typer.echo(msgspec.json.encode(one))
    elif strimzi:
        typer.echo(yaml.safe_dump_all(_users(allowed), sort_keys=False), nl=False)
    else:
        Console().print(_table(allowed))


def _table(allowed: list[Allowed]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("principal", "may", "on", "name"):
        table.add_column(heading, no_wrap=True)
    for one in allowed:
        name = f"{one.name}*" if one.prefixed else one.name
        table.add_row(one.principal, one.operation, one.kind.replace("_", " "), name)
    return table


_STRIMZI_KINDS = {"topic": "topic", "group": "group", "transactional_id": "transactionalId", "cluster": "cluster"}


def _users(allowed: list[Allowed]) -> list[dict[str, Any]]:
    """One KafkaUser a principal, with SCRAM-SHA-512 (kafka.strimzi.io/v1)."""
    users: dict[str, list[dict[str, Any]]] = {}
    for one in allowed:
        resource: dict[str, Any] = {"type": _STRIMZI_KINDS[one.kind]}
        if one.kind != "cluster":
            resource |= {"name": one.name, "patternType": "prefix" if one.prefixed else "literal"}
        rules = users.setdefault(one.principal, [])
        same = next((rule for rule in rules if rule["resource"] == resource), None)
        if same is None:
            rules.append({"resource": resource, "operations": [one.operation]})
        else:
            same["operations"].append(one.operation)
    return [
        {
            "apiVersion": "kafka.strimzi.io/v1",
            "kind": "KafkaUser",
            "metadata": {"name": f"headrace-{name}"},
            "spec": {
                "authentication": {"type": "scram-sha-512"},
                "authorization": {"type": "simple", "acls": rules},
            },
        }
        for name, rules in users.items()
    ]
