"""`headrace label ...`: events that people are to label, by the role `labelling`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from headrace.cli.connect import RunOption
from headrace.cli.labelling import JsonOption, LabellingClient, UrlOption, WhoOption, fields_of
from headrace.cli.views.formats import counted, table_console
from headrace.cli.views.labelling import agreement_table, form_lines, item_lines, queues_table
from headrace.runtime.errors import ConfigError, DataError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Label events by hand: the role `labelling` keeps queues of what is worth a label.

For example:

  headrace label queues

  headrace label next uncertain

  headrace label give 2-1043 minutes=12.5
""",
)

ItemArgument = Annotated[str, typer.Argument(help="the item's id, as `next` shows it")]
QueueArgument = Annotated[str, typer.Argument(help="the queue's name, as `queues` shows it")]
FieldsArgument = Annotated[list[str] | None, typer.Argument(metavar="FIELD=VALUE...", help="the label")]


@app.command()
def queues(*, as_json: JsonOption = False, url: UrlOption = "", run: RunOption = None) -> None:
    """Every queue, and how many items wait, are held, are published.

    For example:

      headrace label queues
    """
    answer = LabellingClient(url, run).get("queues")
    _print(answer) if as_json else table_console().print(queues_table(msgspec.json.decode(answer)["queues"]))


@app.command("next")
def next_(
    queue: QueueArgument,
    *,
    who: WhoOption,
    review: Annotated[
        Literal["also", "only", "never"], typer.Option(help="items that another person labelled before you")
    ] = "also",
    fresh: Annotated[bool, typer.Option("--fresh", help="a further item, even if you have one")] = False,
    as_json: JsonOption = False,
    url: UrlOption = "",
    run: RunOption = None,
) -> None:
    """Take the next item of a queue: while your lease lasts, nobody else is given it.

    For example:

      headrace label next uncertain

      headrace label next all --review only --as ben
    """
    client = LabellingClient(url, run)
    answer = client.post("queues", queue, "lease", body={"labeller": who, "review": review, "fresh": fresh})
    if as_json:
        _print(msgspec.json.encode(answer))
    elif answer["item"] is None:
        typer.echo("nothing is left for you in this queue")
    else:
        _show(answer["item"])
        typer.echo(f"label it:   headrace label give {answer['item']['id']} ...")
        typer.echo("\n".join(form_lines(msgspec.json.decode(client.get("form")))))


@app.command()
def show(item: ItemArgument, *, as_json: JsonOption = False, url: UrlOption = "", run: RunOption = None) -> None:
    """Show an item, and who said what of it when."""
    answer = LabellingClient(url, run).get("items", item)
    _print(answer) if as_json else _show(msgspec.json.decode(answer))


@app.command()
def give(
    item: ItemArgument,
    fields: FieldsArgument = None,
    *,
    who: WhoOption,
    url: UrlOption = "",
    run: RunOption = None,
) -> None:
    """Label an item that you took by `next`. The label is published, and the model learns from it.

    For example:

      headrace label give 2-1043 minutes=12.5

      headrace label give 0-7 kind=city tags=wet,dark --as ana
    """
    client = LabellingClient(url, run)
    label = fields_of(fields or [], msgspec.json.decode(client.get("form")))
    _said(client.post("items", item, "label", body={"labeller": who, "label": label}))


@app.command()
def review(
    item: ItemArgument,
    fields: FieldsArgument = None,
    *,
    who: WhoOption,
    accept: Annotated[bool, typer.Option("--accept", help="agree with the first label, where it is shown")] = False,
    url: UrlOption = "",
    run: RunOption = None,
) -> None:
    """Label an item as its second person; what you say is published.

    For example:

      headrace label review 2-1043 minutes=13

      headrace label review 2-1043 --accept
    """
    client = LabellingClient(url, run)
    if accept == bool(fields):
        raise ConfigError("either a label, or --accept", hint="headrace label review ITEM field=value")
    said: dict[str, Any] = {"accept": True}
    if fields:
        said = {"label": fields_of(fields, msgspec.json.decode(client.get("form")))}
    _said(client.post("items", item, "review", body={"labeller": who, **said}))


@app.command()
def skip(
    item: ItemArgument,
    *,
    who: WhoOption,
    reason: Annotated[str, typer.Option(help="noted with the item")] = "",
    url: UrlOption = "",
    run: RunOption = None,
) -> None:
    """Pass an item over: you are not offered it again.

    For example:

      headrace label skip 2-1043 --reason "the photo is missing"
    """
    skipped = LabellingClient(url, run).post("items", item, "skip", body={"labeller": who, "reason": reason})
    others = "nobody is offered it any more" if skipped["state"] == "closed" else "others may be offered it"
    typer.echo(f"item {item} is skipped: {others}")


@app.command()
def undo(
    item: Annotated[str | None, typer.Argument(help="the item (default: the last of the queue)")] = None,
    *,
    who: WhoOption,
    queue: Annotated[str, typer.Option(help="your last decision in this queue")] = "",
    url: UrlOption = "",
    run: RunOption = None,
) -> None:
    """Take your decision on an item back; you have the item again.

    For example:

      headrace label undo 2-1043

      headrace label undo --queue uncertain
    """
    if (item is None) == (not queue):
        raise ConfigError("name an item, or a --queue", hint="headrace label undo ITEM")
    path = ("items", item, "undo") if item is not None else ("queues", queue, "undo")
    answer = LabellingClient(url, run).post(*path, body={"labeller": who})
    typer.echo(answer["effect"])
    _show(answer["item"])


@app.command()
def agreement(
    queue: Annotated[str | None, typer.Argument(help="one queue (default: all)")] = None,
    *,
    as_json: JsonOption = False,
    url: UrlOption = "",
    run: RunOption = None,
) -> None:
    """How far people agree who labelled the same items: percent, Cohen's kappa, and of numbers the mean difference.

    For example:

      headrace label agreement
    """
    client = LabellingClient(url, run)
    answer = msgspec.json.decode(client.get("queues", queue) if queue else client.get("agreement"))
    found = answer["agreement"] if queue else answer
    _print(msgspec.json.encode(found)) if as_json else table_console().print(agreement_table(found))


@app.command("export")
def export_(
    queue: Annotated[str | None, typer.Argument(help="one queue (default: all)")] = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="the file")],
    state: Annotated[
        Literal["open", "review", "held", "published", "closed"] | None, typer.Option(help="only items in this state")
    ] = None,
    config: Annotated[
        bool, typer.Option("--config", help="Label Studio's labelling configuration instead of the tasks")
    ] = False,
    url: UrlOption = "",
    run: RunOption = None,
) -> None:
    """Write items, and what people said, as Label Studio's JSON.

    For example:

      headrace label export uncertain -o tasks.json

      headrace label export -o config.xml --config
    """
    client = LabellingClient(url, run)
    data = client.get("config") if config else client.get("export", queue=queue, state=state)
    try:
        output.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"{output}: {error.strerror}", hint="--output FILE") from error
    typer.echo(f"{output}: {len(data):,} bytes" if config else f"{output}: {counted(_tasks_in(data), 'task')}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="tasks, in Label Studio's JSON")],
    *,
    queue: Annotated[str, typer.Option(help="the queue that new items join")] = "all",
    url: UrlOption = "",
    run: RunOption = None,
) -> None:
    """Take tasks and annotations from Label Studio. Importing a file again changes nothing.

    For example:

      headrace label import tasks.json --queue all
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    brought = LabellingClient(url, run).post("import", body=data, queue=queue)
    new, decisions = counted(brought["items"], "new item"), counted(brought["labels"], "new decision")
    typer.echo(f"{counted(brought['tasks'], 'task')}: {new}, {decisions}, {brought['repeated']:,} known already")
    for one in brought["refused"]:
        typer.echo(f"headrace: {file}: {one['reason']}", err=True)
    if brought["refused_count"]:
        raise DataError(f"{file}: {counted(brought['refused_count'], 'task')} refused; the others were taken")


def _tasks_in(data: bytes) -> int:
    return len(msgspec.json.decode(data, type=list[msgspec.Raw]))


def _said(item: dict[str, Any]) -> None:
    what = {"held": "it will be published in a moment; until then an undo leaves no trace",
            "review": "it waits for a second person"}.get(item["state"], "")  # fmt: skip
    typer.echo(f"item {item['id']} is {item['state']}" + (f": {what}" if what else ""))


def _show(item: dict[str, Any]) -> None:
    typer.echo("\n".join(item_lines(item)))


def _print(answer: bytes) -> None:
    typer.echo(msgspec.json.format(answer, indent=2).decode())
