"""`headrace topics`: the catalogue, readable."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.cli.views.formats import counted
from headrace.contracts.topics import CATALOGUE, TopicSpec, dead_letters, markdown_page


def topics(
    pipeline: Annotated[
        str, typer.Argument(help="show the names that the topics of this pipeline have")
    ] = "<pipeline>",
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="as the page docs/topics.md")] = False,
) -> None:
    """Every topic: who writes it, its key, what is in it, how long it is kept.

    For example:

      headrace topics

      headrace topics flights

      headrace topics --markdown > docs/topics.md
    """
    if markdown:
        typer.echo(markdown_page(), nl=False)
        return
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 3, 1, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    for spec in CATALOGUE:
        name = spec.name(pipeline)
        names = f"{name}\n{dead_letters(name)}" if spec.dead_letters else name
        table.add_row(Text(names), _described(spec))
    Console().print(table)


def _described(spec: TopicSpec) -> Text:
    kept = f"kept {counted(spec.retention.days, 'day')}" if spec.retention else "the newest of each key is kept"
    details = f"\nwritten by {spec.owner} · key: {spec.key} · value: {spec.schema} · {kept}"
    return Text.assemble(spec.doc, (details, "dim"))
