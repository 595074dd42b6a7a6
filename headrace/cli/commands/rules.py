"""`headrace rules`: what the rules of a pipeline do, and what persons say to them."""

import getpass
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from headrace.cli.connect import KafkaOption, RunOption, connect
from headrace.cli.views import rules as views
from headrace.cli.views.formats import table_console
from headrace.client.rules import RulesClient
from headrace.launch.run_file import folder_of
from headrace.model.spec import PipelineSpec
from headrace.model.spec_file import load_spec
from headrace.platform.files import read_json
from headrace.rules.spec import RuleSpec
from headrace.runtime.endpoints import find
from headrace.runtime.errors import ConfigError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Rules: when something happens, do these steps, then tell. They stand in pipeline.yaml.

    For example:

      headrace rules list

      headrace rules follow 8391

      headrace rules approve 8391 --comment "looks good at night, too"
    """,
)

UrlOption = Annotated[
    str | None, typer.Option(help="REST address of the role `rules`, or of a gateway (default: the run's)")
]
JsonOption = Annotated[bool, typer.Option("--json", help="for programs")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="a run's id, or how it begins")]
ByOption = Annotated[str, typer.Option(help="who says so (default: you)", show_default=False)]
CommentOption = Annotated[str, typer.Option(help="why, for whoever asks later")]
FolderArgument = Annotated[
    Path | None, typer.Argument(help="the pipeline's folder (default: what the run runs)", show_default=False)
]


@app.command("list")
def list_rules(url: UrlOption = None, run_dir: RunOption = None, *, as_json: JsonOption = False) -> None:
    """The rules of the pipeline that runs, each with its state, its last run and the triggers that were dropped."""
    found = _client(url, run_dir).rules()
    if not _show(found, as_json):
        table_console().print(views.rules_table(found))


@app.command()
def check(folder: FolderArgument = None, run_dir: RunOption = None) -> None:
    """Validate `rules:` of a pipeline.yaml, and say in words what each rule does. Nothing else of the folder is tried.

    What is wrong is shown with file, line and field, and exit code 2.
    """
    spec = _spec(folder, run_dir)
    console = Console(highlight=False, soft_wrap=True)
    for rule in spec.rules:
        for line in views.rule_lines(rule):
            console.print(line)
    console.print(f"{spec.name}: {len(spec.rules)} rule{'' if len(spec.rules) == 1 else 's'}, nothing wrong")


@app.command()
def runs(
    rule: Annotated[str, typer.Argument(help="only this rule's", show_default=False)] = "",
    *,
    state: Annotated[str, typer.Option(help="running, waiting, done, failed or cancelled")] = "",
    last: Annotated[int, typer.Option("-n", "--last", min=1, max=1000, help="so many, the newest first")] = 20,
    url: UrlOption = None,
    run_dir: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """The newest runs."""
    found = _client(url, run_dir).runs(rule, state, last)
    if not _show(found, as_json):
        table_console().print(views.runs_table(found))


@app.command()
def show(run: RunArgument, url: UrlOption = None, run_dir: RunOption = None, *, as_json: JsonOption = False) -> None:
    """One run: why it began, and what each of its steps came to."""
    client = _client(url, run_dir)
    found = client.run(_full(client, run))
    if not _show(found, as_json):
        _lines(found)


@app.command()
def follow(run: RunArgument, url: UrlOption = None, run_dir: RunOption = None, *, as_json: JsonOption = False) -> None:
    """Follow a run until it is over. The exit code is 0 if it is done, and 1 if it failed or was cancelled."""
    client, console, said = _client(url, run_dir), Console(highlight=False, soft_wrap=True), dict[int, str]()
    found: dict[str, Any] = {}
    for found in client.follow(_full(client, run)):
        if as_json:
            typer.echo(msgspec.json.encode(found))
            continue
        for step in found["steps"]:
            if step["state"] not in ("pending", said.get(step["number"])):
                said[step["number"]] = step["state"]
                console.print(views.step_line(step))
    if not as_json:
        console.print(next(iter(views.run_lines(found))))
    raise typer.Exit(0 if found.get("state") == "done" else 1)


@app.command()
def trigger(
    rule: Annotated[str, typer.Argument(help="the rule's name")],
    *,
    details: Annotated[str, typer.Option(help="a JSON object that webhooks get")] = "{}",
    by: ByOption = "",
    key: Annotated[str, typer.Option(help="the same key again is the same run")] = "",
    url: UrlOption = None,
    run_dir: RunOption = None,
) -> None:
    """Begin a run, whatever the rule waits for. Its cooldown and its limit of runs hold."""
    try:
        given = msgspec.json.decode(details, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ConfigError(f"--details: {error}", hint="--details '{\"ticket\": 12}'") from None
    _lines(_client(url, run_dir).trigger(rule, by or getpass.getuser(), given, key))


@app.command()
def approve(
    run: RunArgument,
    *,
    comment: CommentOption = "",
    by: ByOption = "",
    url: UrlOption = None,
    run_dir: RunOption = None,
) -> None:
    """Approve the step of a run that waits for a person."""
    _decide("approve", run, by, comment, _client(url, run_dir))


@app.command()
def reject(
    run: RunArgument,
    *,
    comment: CommentOption = "",
    by: ByOption = "",
    url: UrlOption = None,
    run_dir: RunOption = None,
) -> None:
    """Reject the step of a run that waits for a person: the run has failed."""
    _decide("reject", run, by, comment, _client(url, run_dir))


@app.command()
def cancel(
    run: RunArgument,
    *,
    comment: CommentOption = "",
    by: ByOption = "",
    url: UrlOption = None,
    run_dir: RunOption = None,
) -> None:
    """Cancel a run. What its step does is stopped, and a version that it has on canaries is taken from them."""
    _decide("cancel", run, by, comment, _client(url, run_dir))


@app.command("test")
def on_past_events(
    rule: Annotated[str, typer.Argument(help="the rule's name")],
    folder: FolderArgument = None,
    *,
    from_: Annotated[str, typer.Option("--from", help="a time, such as 2026-01-31T12:00Z, or hours ago: 24h")] = "24h",
    to: Annotated[str, typer.Option("--to", help="likewise; default now", show_default=False)] = "0h",
    kafka: KafkaOption = None,
    run_dir: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a rule on past events: when it would have begun runs, and what they would have done. Nothing is done.

    Alerts, versions of data sets, labels and schedules are looked at. Conditions on the error are left out: the
    monitor's figures are on no topic. Each run is taken to end at once.

    For example:

      headrace rules test retrain examples/rules --from 2026-11-01 --to 2026-11-08
    """
    from headrace.rules.past import past

    spec = _spec(folder, run_dir)
    named = _named(spec, rule)
    found = past(connect(run_dir, kafka), spec.name, named, _moment("--from", from_), _moment("--to", to))
    plain = [{"verdict": one.verdict, **msgspec.to_builtins(one.trigger)} for one in found]
    if _show(plain, as_json):
        return
    console = table_console()
    console.print(views.past_table(found))
    begun = sum(one.verdict == "admitted" for one in found)
    console.print(f"{len(found)} triggers, {begun} runs. Each would do:")
    for line in list(views.rule_lines(named))[2:]:
        console.print(line)
    if any(when.error is not None for when in named.when):
        console.print("Conditions on the error are not part of this: the monitor's figures are on no topic.")


def _client(url: str | None, run_dir: str | None) -> RulesClient:
    """The client of the role that is meant.

    Raises:
        ConfigError: none runs.
    """
    if url:
        return RulesClient(url)
    folder = folder_of(run_dir)
    found = find(folder, "rules", "rest") if folder is not None else []
    if not found:
        raise ConfigError("no role `rules` runs here", hint="headrace run rules --pipeline FOLDER, or --url")
    return RulesClient(found[-1])


def _spec(folder: Path | None, run_dir: str | None) -> PipelineSpec:
    if folder is not None:
        return load_spec(folder)
    run = folder_of(run_dir)
    noted = (read_json(run / "run.json") if run is not None else None) or {}
    if "folder" not in noted:
        raise ConfigError("which pipeline?", hint="name its folder")
    return load_spec(noted["folder"])


def _named(spec: PipelineSpec, name: str) -> RuleSpec:
    found = next((rule for rule in spec.rules if rule.name == name), None)
    if found is None:
        there = ", ".join(rule.name for rule in spec.rules) or "none"
        raise ConfigError(f"{spec.name} has no rule {name!r}", hint=f"there are: {there}")
    return found


def _moment(option: str, text: str) -> int:
    """µs since the epoch."""
    if text.endswith("h") and text[:-1].replace(".", "", 1).isdigit():
        return int((time.time() - float(text[:-1]) * 3600) * 1e6)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option} {text!r}: expected a time such as 2026-01-31T12:00Z, or 24h") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6)


def _full(client: RulesClient, run: str) -> str:
    """The id of the run whose id begins so.

    Raises:
        ConfigError: there is none, or there are several.
    """
    fitting = [one["id"] for one in client.runs(limit=1000) if one["id"].startswith(run)]
    if len(fitting) > 1:
        raise ConfigError(f"{len(fitting)} runs begin with {run!r}", hint="headrace rules runs lists them")
    return fitting[0] if fitting else run


def _decide(what: str, run: str, by: str, comment: str, client: RulesClient) -> None:
    _lines(client.decide(_full(client, run), what, by or getpass.getuser(), comment))


def _show(found: Any, as_json: bool) -> bool:  # noqa: FBT001 - the flag itself
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
    return as_json


def _lines(run: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for line in views.run_lines(run):
        console.print(line)
