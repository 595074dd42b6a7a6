"""`headrace dlq list | show | replay`: dead letters, for people who want their records back."""

import getpass
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from headrace.cli.connect import KafkaOption, RunOption, connect
from headrace.cli.views.dead_letters import described, planned, table
from headrace.deadletters.letters import Letter
from headrace.deadletters.plan import plan
from headrace.deadletters.read import find_letter, list_letters, read_letters, replayed, topics_with_letters
from headrace.deadletters.replay import replay
from headrace.deadletters.selection import Selection, parse_place, parse_since
from headrace.launch.run_file import pipeline_of
from headrace.runtime.errors import ConfigError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Dead letters: records that could not be processed, where they came from, and why they failed.

For example:

  headrace dlq list

  headrace dlq show flights.events 0:17

  headrace dlq replay flights.events --reason NaN --yes
""",
)

TopicArgument = Annotated[
    str, typer.Argument(help="the topic that the records came from, or its `.dlq`: `flights.events`, `events`")
]
PhaseOption = Annotated[
    str | None, typer.Option(help="only of this phase: decode, features, forward, predictions, train")
]
ReasonOption = Annotated[str, typer.Option(help="only where the reason has this text in it")]
SinceOption = Annotated[
    str | None, typer.Option(help="only newer ones: 30s, 15m, 2h, 3d, or a time, 2026-03-01T12:00 (UTC)")
]
MOST_ROWS = 100


@app.command("list")
def list_(
    topic: Annotated[
        str | None, typer.Argument(help="one topic (default: all of the run's pipeline)", show_default=False)
    ] = None,
    *,
    phase: PhaseOption = None,
    reason: ReasonOption = "",
    since: SinceOption = None,
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="rows at most, the newest")] = MOST_ROWS,
    as_json: Annotated[
        bool, typer.Option("--json", help="one JSON object per letter, all of them, for programs")
    ] = False,
    run: RunOption = None,
    kafka_address: KafkaOption = None,
) -> None:
    """A table of dead letters, the newest last, and whether each was put back.

    For example:

      headrace dlq list

      headrace dlq list flights.events --phase decode --since 2h

      headrace dlq list --json | jq -r .reason | sort | uniq -c
    """
    settings, selection = connect(run, kafka_address), _selection(phase, reason, since)
    listing = list_letters(settings, topics_with_letters(settings, _pipeline(run, kafka_address), topic), selection)
    _warn(listing.unreadable)
    rows = listing.letters
    if as_json:
        for row in rows:
            typer.echo(msgspec.json.encode(row.letter.as_dict(replayed=row.replayed)))
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # a pipe has no width: show more of the reasons than 80 columns would
    console.print(table(rows[-number:]) if rows else "no dead letters")
    if len(rows) > number:
        typer.echo(f"and {len(rows) - number:,} older ones: -n {len(rows)} shows them")


@app.command()
def show(
    topic: TopicArgument,
    place: Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="the letter, as `list` shows it")],
    *,
    raw: Annotated[
        bool, typer.Option("--raw", help="only the original value, byte for byte, to standard output")
    ] = False,
    run: RunOption = None,
    kafka_address: KafkaOption = None,
) -> None:
    """Show everything about one dead letter: why, where from, key, headers and the original bytes.

    For example:

      headrace dlq show flights.events 0:17

      headrace dlq show flights.events 0:17 --raw > bad.json
    """
    wanted, settings = parse_place(place), connect(run, kafka_address)
    (name,) = topics_with_letters(settings, _pipeline(run, kafka_address), topic)
    found = find_letter(settings, name, wanted)
    if found is None:
        raise ConfigError(
            f"no dead letter of {name} at {place}", hint=f"headrace dlq list {name} shows which there are"
        )
    if raw:
        sys.stdout.buffer.write(found.letter.body.value)
        sys.stdout.buffer.flush()
        return
    typer.echo(described(found))


@app.command("replay")
def replay_(
    topic: TopicArgument,
    letters: Annotated[
        list[str] | None, typer.Argument(metavar="[PARTITION:OFFSET]...", help="only these letters")
    ] = None,
    *,
    phase: PhaseOption = None,
    reason: ReasonOption = "",
    since: SinceOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="do it; without it, only say what would be done")] = False,
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="letters in one transaction")] = 500,
    run: RunOption = None,
    kafka_address: KafkaOption = None,
) -> None:
    """Put dead letters' records back on the topic and partition that they came from, each exactly once.

    Repair what made them fail first: the records go through everything that reads the topic again. A record that was
    put back is never put back again, whatever the filters, and however an earlier replay ended. It has the original
    key, value and headers, the time of the replay, and headers headrace-replay-* that say which record and which letter
    it is.

    For example:

      headrace dlq replay flights.events

      headrace dlq replay flights.events --phase features --since 2h --yes

      headrace dlq replay flights.events 0:17 3:4 --yes
    """
    selection = _selection(phase, reason, since, letters or ())
    settings = connect(run, kafka_address)
    (name,) = topics_with_letters(settings, _pipeline(run, kafka_address), topic)
    found = read_letters(settings, name)
    _warn(found.unreadable_places)
    if not yes:
        typer.echo(planned(name, plan(found.found, selection, replayed(settings, name))))
        typer.echo("nothing was done: --yes puts them back")
        return

    def choose(done: set[str]) -> list[Letter]:
        made = plan(found.found, selection, done)
        typer.echo(planned(name, made))
        return made.fresh

    count = replay(settings, name, choose, by=getpass.getuser(), batch=batch)
    typer.echo(f"{count:,} put back on {name}")


def _pipeline(run: str | None, kafka_address: str | None) -> str | None:
    """The pipeline whose topics are meant; None where it may be any, as on a Kafka that is named without a run."""
    return None if kafka_address and not run else pipeline_of(run)


def _selection(phase: str | None, reason: str, since: str | None, places: Iterable[str] = ()) -> Selection:
    since_us = parse_since(since, datetime.now(UTC)) if since else 0
    return Selection(phase, reason, since_us, frozenset(map(parse_place, places)) or None)


def _warn(unreadable: Iterable[str]) -> None:
    for place in unreadable:
        typer.echo(f"headrace: {place}: no dead letter", err=True)
