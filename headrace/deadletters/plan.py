"""Putting dead letters back, without Kafka: which letters, what the record is that goes back, and what is noted of it.

Putting back must be idempotent letter by letter, with any selection, in any order, however the last time ended. A
committed position in the dead letters cannot say that: a selection passes letters over that a later one may want. So
every letter that was put back has an entry of its own on the compacted topic headrace.replays, written in the very
transaction that puts the record back (`headrace.deadletters.replay` has the order).

An entry names the *record* and not the letter: the stream and the join may both write a letter of one event that they
cannot decode, and the event is put back once. A record is its topic, partition, offset and timestamp; the timestamp is
there for topics that were deleted and made again, where offsets begin anew.

A record that was put back and fails again is another record, at another offset, and may be put back again.
"""

import time
from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from headrace.contracts.events_pb2 import LetterReplayed
from headrace.contracts.topics import DEAD_LETTER_SUFFIX, REPLAYS, model_partition
from headrace.deadletters.letters import ATTEMPT, REPLAY_PREFIX, Letter
from headrace.deadletters.selection import Selection
from headrace.streams.delivery import Outgoing

OF, LETTER, TIMESTAMP = (REPLAY_PREFIX + name for name in ("of", "letter", "timestamp-ms"))
"""Headers of a record that was put back: the record it is a copy of, its letter, and when it first came."""


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
    """The record to put back: the original key, value, headers and partition, and headers that say what it is.

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
