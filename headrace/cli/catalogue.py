"""Every command of `headrace` as data, and the group that imports one only when it is asked for."""

import inspect
import os
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from headrace import __version__
from headrace.runtime.errors import HeadraceError

RUNS, PIPELINES, OPERATING, PARTS = "Whole runs", "Pipelines", "Watching and operating", "Parts"


@dataclass(frozen=True)
class Command:
    """A command: its module in headrace/cli/commands has a Typer `app`, or a function of the command's name."""

    name: str
    panel: str
    help: str


COMMANDS = (
    Command(
        "demo",
        RUNS,
        "Everything on this machine: platform, services, real flights, a live board.",
    ),
    Command("up", RUNS, "Platform and services for a pipeline of yours, until Ctrl-C."),
    Command("down", RUNS, "Stop what `up` or `demo` started, in order."),
    Command("new", PIPELINES, "Write a pipeline folder that works, to start from."),
    Command(
        "check",
        PIPELINES,
        "Validate a pipeline folder and try its model on sample events.",
    ),
    Command("produce", PIPELINES, "Replay a pipeline's own source, or files, to its topics."),
    Command("predict", PIPELINES, "Ask the newest model for one prediction."),
    Command("datasets", PIPELINES, "Data sets: import, look at, split, export; to train on, predict, test and replay."),
    Command("batch", PIPELINES, "Predict files of events: Parquet, CSV or JSON lines."),
    Command("train", PIPELINES, "Train on a range of the examples, on files or on the pipeline's source, and report."),
    Command("tune", PIPELINES, "Search for better training settings, over a range of the examples or the source."),
    Command("experiments", PIPELINES, "Training jobs that were tracked, side by side."),
    Command("label", PIPELINES, "Label events: take one, say what is true, undo, review, import and export."),
    Command("status", OPERATING, "What runs, how fast, how well."),
    Command("query", OPERATING, "Ask in SQL what the archive keeps: events, predictions, labels, metrics."),
    Command("metrics", OPERATING, "Metrics over time: errors, latency, lag, by model and version."),
    Command("tail", OPERATING, "Show the records of a topic, decoded."),
    Command("drift", OPERATING, "How far events, predictions and errors are from what is usual."),
    Command("alerts", OPERATING, "Alerts of every role, silences, rules for Prometheus and Grafana."),
    Command("dlq", OPERATING, "Dead letters: list them, look at one, put them back."),
    Command("topics", OPERATING, "The topic catalogue: who writes what where."),
    Command("ckpt", OPERATING, "The weights: who serves which version, and what became of each."),
    Command("lineage", OPERATING, "From a version or a prediction back to its examples, its code, and who served it."),
    Command("rollback", OPERATING, "Serve an earlier version, and stay there."),
    Command("rules", OPERATING, "Rules: what they do by themselves, and what waits for a person."),
    Command("resume", OPERATING, "Serve the newest checkpoints again after a rollback."),
    Command("acls", OPERATING, "What each role must be allowed on Kafka: list it, or have the broker allow it."),
    Command("keys", OPERATING, "API keys: make, list and revoke them."),
    Command("run", PARTS, "Run one role in this process, as a container would."),
    Command("platform", PARTS, "Kafka and Redis on this machine, and nothing else."),
)


class Lazy(TyperGroup):
    """Lists commands from the table, and imports a command's module when that command is to run or to complete."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for command in COMMANDS:
            self.add_command(TyperCommand(command.name, help=command.help, rich_help_panel=command.panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that `args` begin with, imported, and what follows."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, imported(str(name)), rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a HeadraceError is one readable line, a hint and an exit code.

        The context's `obj`, where there is one, is called first: what a command needs and `--help` does not.
        """
        if callable(ctx.obj):
            ctx.obj()
        try:
            return super().invoke(ctx)
        except HeadraceError as error:
            show(error)
            raise typer.Exit(int(error.exit_code)) from error
        except BrokenPipeError:  # the reader of `headrace tail ... | head` has closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None


def imported(name: str) -> Any:
    """The command itself."""
    command = next(c for c in COMMANDS if c.name == name)
    module = import_module(f"headrace.cli.commands.{command.name}")
    app = getattr(module, "app", None)
    if not isinstance(app, typer.Typer):
        app = typer.Typer(add_completion=False, rich_markup_mode="rich")
        app.command(name)(getattr(module, name))
    app._add_completion = False  # noqa: SLF001 - a sub-command installs no completion of its own
    made = typer.main.get_command(app)
    made.name = name
    _reflow(made)
    return made


def _reflow(command: Any) -> None:
    """Let paragraphs of help be broken at the terminal's width, not the docstring's; indented ones (examples) stay."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    command.help = "\n\n".join(p if p.startswith(" ") else " ".join(p.split()) for p in paragraphs)
    for part in getattr(command, "commands", {}).values():
        _reflow(part)


def show(error: HeadraceError) -> None:
    """The error, and what to do about it, on standard error."""
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print("[bold red]headrace:[/]", end=" ")
    console.print(error.message, markup=False)
    if error.hint:
        console.print("  [dim]→[/]", end=" ")
        console.print(error.hint, markup=False)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback form
    if wanted:
        typer.echo(f"headrace {__version__}")
        raise typer.Exit


def application() -> typer.Typer:
    """The whole command line."""
    root = typer.Typer(
        cls=Lazy,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,  # headrace.cli.guarded shows them, without secrets
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @root.callback()
    def headrace(
        *,
        version: Annotated[
            bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
        ] = False,
    ) -> None:
        """A model that learns from a Kafka stream and answers on it, continuously.

        Start with:  [bold]headrace demo[/]
        """

    return root
