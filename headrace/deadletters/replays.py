"""Putting dead letters back, without Kafka: which letters, what the record is that goes back, and what is noted of it.

Replaying must be idempotent letter by letter, with any filter, in any order, however the last replay ended. A committed
position in the dead letters cannot say that: a filter passes letters over that a later replay may want. So every letter
that was put back has an entry of its own on the compacted topic headrace.replays, written in the very transaction that
puts the record back (`headrace.deadletters.replayer` has the order).

What is entered is the *record* and not the letter: the stream and the join may both write a letter of one event that
nobody can decode, and the event is put back once. A record is its topic, partition, offset and timestamp; the timestamp
is there for topics that were deleted and made again, where offsets begin anew.

A record that was put back and dies again is another record, at another offset, and may be put back again.
"""

import re
import time
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from google.protobuf.message import DecodeError

from headrace.contracts.events_pb2 import DeadLetter, LetterReplayed
from headrace.contracts.topics import DEAD_LETTER_SUFFIX, REPLAYS, model_partition
from headrace.runtime.errors import ConfigError
from headrace.streams.chunks import Record
from headrace.streams.delivery import Outgoing

REPLAY_PREFIX = "headrace-replay-"
OF, LETTER, ATTEMPT, TIMESTAMP = (REPLAY_PREFIX + name for name in ("of", "letter", "attempt", "timestamp-ms"))
"""Headers of a record that was put back: the record it is a copy of, its letter, how often by now, when it first came."""

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True)
class Letter:
    """A dead letter and its own place, a partition and offset of `<topic>.dlq`."""

    partition: int
    offset: int
    body: DeadLetter

    @property
    def place(self) -> str:
        """Its place as the command line takes it."""
        return f"{self.partition}:{self.offset}"

    @property
    def source(self) -> str:
        """The record that it is of, for people."""
        return f"{self.body.topic}[{self.body.partition}]@{self.body.offset}"

    @property
    def record_id(self) -> str:
        """The record that it is of, as it is entered on headrace.replays."""
        return f"{self.body.topic}/{self.body.partition}/{self.body.offset}/{self.body.timestamp_ms}"

    @property
    def attempt(self) -> int:
        """How often the record had been put back before it became this letter."""
        found = [header.value for header in self.body.headers if header.name == ATTEMPT]
        return int(found[-1]) if found and found[-1].isdigit() else 0


@dataclass
class Letters:
    """What a topic of dead letters holds; `unreadable` are the places of what are no letters of `topic`."""

    topic: str
    found: list[Letter] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Take one record of `<topic>.dlq`."""
        try:
            letter = Letter(record.partition(), record.offset(), DeadLetter.FromString(record.value() or b""))
        except DecodeError:
            letter = None
        if letter is None or letter.body.topic != self.topic:
            self.unreadable.append(f"{record.partition()}:{record.offset()}")
        else:
            self.found.append(letter)


@dataclass(frozen=True)
class Selection:
    """Which letters: all conditions must hold; `places` (partition, offset) of None is any."""

    phase: str | None = None
    reason: str = ""
    since_us: int = 0
    places: frozenset[tuple[int, int]] | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether it is one of them. Phase must be equal; reason is a part of the text, in either case."""
        return (
            (self.phase is None or letter.body.phase == self.phase)
            and self.reason.lower() in letter.body.reason.lower()
            and letter.body.at_us >= self.since_us
            and (self.places is None or (letter.partition, letter.offset) in self.places)
        )


@dataclass
class Plan:
    """What a replay is to do. `fresh` in the order in which the records first came, each record once."""

    fresh: list[Letter] = field(default_factory=list)
    replayed: int = 0
    same_record: int = 0
    passed_over: int = 0

    @property
    def chosen(self) -> int:
        """Letters that were selected."""
        return len(self.fresh) + self.replayed + self.same_record


def plan(letters: Iterable[Letter], selection: Selection, replayed: Container[str]) -> Plan:
    """The selected letters whose records were not put back yet; `replayed` holds the ids of records that were."""
    made, taken = Plan(), set[str]()
    for letter in letters:
        if not selection.takes(letter):
            made.passed_over += 1
        elif letter.record_id in replayed:
            made.replayed += 1
        elif letter.record_id in taken:
            made.same_record += 1
        else:
            taken.add(letter.record_id)
            made.fresh.append(letter)
    made.fresh.sort(key=lambda letter: (letter.body.partition, letter.body.offset))
    return made


def record_of(letter: Letter) -> Outgoing:
    """The record to put back: the original key, value and headers on the original partition, and headers that say what it is.

    It carries the time at which it is put back, so that retention and the join's window count from then; the original
    timestamp is a header.
    """
    body = letter.body
    headers = [
        (header.name, header.value if header.HasField("value") else None)
        for header in body.headers
        if not header.name.startswith(REPLAY_PREFIX)
    ]
    headers += [
        (OF, letter.source.encode()),
        (LETTER, f"{body.topic}{DEAD_LETTER_SUFFIX}[{letter.partition}]@{letter.offset}".encode()),
        (ATTEMPT, str(letter.attempt + 1).encode()),
        (TIMESTAMP, str(body.timestamp_ms).encode()),
    ]
    key = body.key if body.HasField("key") else None
    value = body.value if body.HasField("value") else None
    return Outgoing(body.topic, key, value, headers, body.partition)


def entry_of(letter: Letter, *, by: str) -> Outgoing:
    """What is noted of a letter that is put back by the user `by`."""
    body = letter.body
    entry = LetterReplayed(
        topic=body.topic,
        partition=body.partition,
        offset=body.offset,
        timestamp_ms=body.timestamp_ms,
        letter_partition=letter.partition,
        letter_offset=letter.offset,
        attempt=letter.attempt + 1,
        replayed_by=by,
        at_us=time.time_ns() // 1000,
    )
    return Outgoing(
        REPLAYS.name(), letter.record_id.encode(), entry.SerializeToString(), [], entries_partition(body.topic)
    )


def entries_partition(topic: str) -> int:
    """The partition of headrace.replays that holds everything about `topic`."""
    return model_partition(topic)


def parse_place(text: str) -> tuple[int, int]:
    """`PARTITION:OFFSET`.

    Raises:
        ConfigError: it is not that.
    """
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if found is None:
        raise ConfigError(
            f"{text!r} is not the place of a dead letter", hint="PARTITION:OFFSET, as headrace dlq list shows it"
        )
    return int(found[1]), int(found[2])


def parse_since(text: str, now: datetime) -> int:
    """Microseconds since the epoch of `15m`, `2h`, `3d` before `now`, or of a time in ISO 8601 (UTC where it does not say).

    Raises:
        ConfigError: it is neither.
    """
    try:
        if found := re.fullmatch(r"(\d+)([smhd])", text):
            at = now - timedelta(**{_UNITS[found[2]]: int(found[1])})
        else:
            at = datetime.fromisoformat(text)
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{text!r} is no time", hint="30s, 15m, 2h, 3d, or 2026-03-01T12:00") from error
    return int(at.timestamp() * 1e6)
