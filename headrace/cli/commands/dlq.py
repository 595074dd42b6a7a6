"""`headrace dlq list | show | replay`: dead letters, for people who want their records back."""

import getpass
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from headrace.cli.commands.tail import resolve
from headrace.cli.connect import KafkaOption, RunOption, connect
from headrace.cli.views.dead_letters import described, row, table
from headrace.contracts.topics import DEAD_LETTER_SUFFIX
from headrace.deadletters.replayer import read_letters, replay, replayed
from headrace.deadletters.replays import Letter, Letters, Plan, Selection, parse_place, parse_since, plan
from headrace.launch.run_file import pipeline_of
from headrace.runtime import kafka
from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Dead letters: records that could not be processed, as they were, with where they came from and why they failed.

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
    place = Place.of(run, kafka_address)
    selection = _selection(phase, reason, since)
    rows: list[tuple[Letter, bool]] = []
    for name in place.topics(topic):
        letters, done = read_letters(place.settings, name), replayed(place.settings, name)
        _warn(letters)
        rows += [(letter, letter.record_id in done) for letter in letters.found if selection.takes(letter)]
    rows.sort(key=lambda r: r[0].body.at_us)
    if as_json:
        for letter, back in rows:
            typer.echo(msgspec.json.encode(row(letter, replayed=back)))
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # a pipe has no width, and nobody wants reasons cut at 80 columns
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
    wanted = parse_place(place)
    at = Place.of(run, kafka_address)
    (name,) = at.topics(topic)
    found = [x for x in read_letters(at.settings, name).found if (x.partition, x.offset) == wanted]
    if not found:
        raise ConfigError(
            f"no dead letter of {name} at {place}", hint=f"headrace dlq list {name} shows which there are"
        )
    if raw:
        sys.stdout.buffer.write(found[0].body.value)
        sys.stdout.buffer.flush()
        return
    typer.echo(described(found[0], replayed=found[0].record_id in replayed(at.settings, name)))


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
    places = frozenset(map(parse_place, letters)) if letters else None
    selection = _selection(phase, reason, since, places)
    at = Place.of(run, kafka_address)
    (name,) = at.topics(topic)
    found = read_letters(at.settings, name)
    _warn(found)
    if not yes:
        _report(name, plan(found.found, selection, replayed(at.settings, name)))
        typer.echo("nothing was done: --yes puts them back")
        return

    def choose(done: set[str]) -> list[Letter]:
        made = plan(found.found, selection, done)
        _report(name, made)
        return made.fresh

    count = replay(at.settings, name, choose, by=getpass.getuser(), batch=batch)
    typer.echo(f"{count:,} put back on {name}")


@dataclass(frozen=True)
class Place:
    """The Kafka that a command is about, and the pipeline; None where it is not known which."""

    settings: ServiceSettings
    pipeline: str | None

    @classmethod
    def of(cls, run: str | None, kafka_address: str | None) -> "Place":
        """What the options mean; a Kafka that is named without a run has any pipelines."""
        return cls(connect(run, kafka_address), None if kafka_address and not run else pipeline_of(run))

    def topics(self, wanted: str | None) -> list[str]:
        """The topic that is wanted, else every one of the pipeline, that has a `.dlq`, without that suffix.

        Raises:
            ConfigError: there is no such topic.
        """
        known = kafka.metadata(kafka.admin(self.settings))
        known = {name: count for name, count in known.items() if name.endswith(DEAD_LETTER_SUFFIX)}
        if wanted is not None:
            full = wanted if wanted.endswith(DEAD_LETTER_SUFFIX) else wanted + DEAD_LETTER_SUFFIX
            return [resolve(full, known, self.pipeline).removesuffix(DEAD_LETTER_SUFFIX)]
        ours = (name for name in sorted(known) if self.pipeline is None or name.startswith(f"{self.pipeline}."))
        return [name.removesuffix(DEAD_LETTER_SUFFIX) for name in ours]


def _selection(
    phase: str | None, reason: str, since: str | None, places: frozenset[tuple[int, int]] | None = None
) -> Selection:
    return Selection(phase, reason, parse_since(since, datetime.now(UTC)) if since else 0, places)


def _report(topic: str, made: Plan) -> None:
    parts = [f"{len(made.fresh):,} to put back", f"{made.replayed:,} put back already"]
    parts += [f"{made.same_record:,} of a record that another letter is of too"] if made.same_record else []
    parts += [f"{made.passed_over:,} not selected"] if made.passed_over else []
    typer.echo(f"{topic}: {made.chosen + made.passed_over:,} dead letters: {', '.join(parts)}")


def _warn(letters: Letters) -> None:
    for place in letters.unreadable:
        typer.echo(
            f"headrace: {letters.topic}{DEAD_LETTER_SUFFIX} at {place} is no letter of {letters.topic}", err=True
        )
