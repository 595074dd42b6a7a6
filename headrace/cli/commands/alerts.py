"""`headrace alerts list | silence | silences | unsilence | rules | prometheus | grafana`."""

import getpass
import re
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from headrace.alerts.log import new_silence, read_alerts, write_silence
from headrace.alerts.policy import Policy
from headrace.alerts.state import AlertStates, Silences, as_plain, silence_as_plain
from headrace.cli.connect import KafkaOption, RunOption, connect
from headrace.cli.views.alerts import alert_table, rule_table, silence_table
from headrace.cli.views.formats import table_console
from headrace.contracts import topics
from headrace.model.spec_file import load_spec
from headrace.runtime import kafka
from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

Json = Annotated[bool, typer.Option("--json", help="for programs")]
Pipeline = Annotated[
    Path | None,
    typer.Argument(help="a pipeline's folder, whose severities hold", metavar="PIPELINE", show_default=False),
]
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


@app.callback()
def alerts() -> None:
    """Alerts of every role: which are on, silences, and rules for Prometheus and Grafana. From Kafka alone.

    For example:

      headrace alerts list

      headrace alerts silence 'rides/feature_drift/*' --for 2h --reason 'the fair is in town'
    """


@app.command("list")
def list_(
    *,
    all_: Annotated[bool, typer.Option("--all", help="also those that have ended")] = False,
    model: Annotated[str, typer.Option(help="of one model")] = "",
    name: Annotated[str, typer.Option(help="of one name")] = "",
    run: RunOption = None,
    kafka_address: KafkaOption = None,
    as_json: Json = False,
) -> None:
    """Show the alerts that are on, whichever role raised them.

    For example:

      headrace alerts list

      headrace alerts list --all --name feature_drift --json | jq -r '.[].subject'
    """
    states, silences = _read(connect(run, kafka_address))
    now = int(time.time() * 1e6)
    found = [as_plain(a, silences.until(a.id, now)) for a in states.alerts(on=not all_, model=model, name=name)]
    if as_json:
        _print_json(found)
    elif found:
        table_console().print(alert_table(found, now))
    else:
        typer.echo("no alert is on" if not all_ else "no alert is known")


@app.command()
def silence(
    match: Annotated[str, typer.Argument(help="an alert's id, in which * stands for anything")],
    *,
    for_: Annotated[str, typer.Option("--for", help="30m, 2h, 7d")] = "1h",
    reason: Annotated[str, typer.Option(help="why")] = "",
    run: RunOption = None,
    kafka_address: KafkaOption = None,
) -> None:
    """Silence alerts for a while: no webhook is told of them. They are still recorded, and marked.

    For example:

      headrace alerts silence rides/feature_drift/surge --for 2h --reason 'new prices'
    """
    settings = connect(run, kafka_address)
    made = new_silence(match, _seconds(for_), reason, _user())
    kafka.ensure_topics(settings, [topics.SILENCES.topic()])
    write_silence(settings, made.id, made)
    until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(made.until_us / 1e6))
    typer.echo(f"{made.id}: {match} is silenced until {until}; headrace alerts unsilence {made.id} ends it")


@app.command()
def silences(*, run: RunOption = None, kafka_address: KafkaOption = None, as_json: Json = False) -> None:
    """Show the silences in force."""
    _, known = _read(connect(run, kafka_address))
    now = int(time.time() * 1e6)
    found = [silence_as_plain(one) for one in known.active(now)]
    if as_json:
        _print_json(found)
    elif found:
        table_console().print(silence_table(found, now))
    else:
        typer.echo("nothing is silenced")


@app.command()
def unsilence(
    identity: Annotated[str, typer.Argument(help="a silence's id", metavar="SILENCE")],
    *,
    run: RunOption = None,
    kafka_address: KafkaOption = None,
) -> None:
    """End a silence."""
    settings = connect(run, kafka_address)
    _, known = _read(settings)
    if known.get(identity, int(time.time() * 1e6)) is None:
        raise ConfigError(f"no silence {identity!r} is in force", hint="headrace alerts silences")
    write_silence(settings, identity, None)
    typer.echo(f"{identity} has ended")


@app.command()
def rules(folder: Pipeline = None, *, as_json: Json = False) -> None:
    """Show every alert that there is: severity, who raises it, what it means and what to do."""
    policy = _policy(folder)
    if as_json:
        _print_json([{**_plain(d), "enabled": True} for d in policy.definitions()])
    else:
        table_console().print(rule_table(policy.definitions()))


@app.command()
def prometheus(folder: Pipeline = None) -> None:
    """Write Prometheus' rules: a recording rule for each figure, an alert rule for each alert.

    With a pipeline's folder the rules have its severities, leave out what it has switched off, and are about its series
    alone.

    For example:

      headrace alerts prometheus > rules.yml && promtool check rules rules.yml
    """
    from headrace.alerts.prometheus import rules_file

    name = load_spec(folder).name if folder is not None else ""
    typer.echo(rules_file(_policy(folder).definitions(), name), nl=False)


@app.command()
def grafana(folder: Pipeline = None) -> None:
    """Write Grafana's dashboard, to be imported as it is.

    For example:

      headrace alerts grafana > dashboard.json
    """
    from headrace.alerts.grafana import dashboard

    _print_json(dashboard(_policy(folder).definitions()))


def _read(settings: ServiceSettings) -> tuple[AlertStates, Silences]:
    """Both topics; records that cannot be decoded are named on standard error."""
    return read_alerts(settings, lambda what: typer.echo(f"headrace: undecodable record skipped, {what}", err=True))


def _policy(folder: Path | None) -> Policy:
    return Policy() if folder is None else load_spec(folder).alerts.policy


def _plain(definition: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(definition)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if found is None or float(found[1]) <= 0:
        raise ConfigError(f"--for {text}: expected a number and s, m, h or d, such as 30m")
    return float(found[1]) * _UNITS[found[2] or "s"]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return ""


def _print_json(body: object) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())
