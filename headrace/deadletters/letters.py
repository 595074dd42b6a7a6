"""What a dead letter is: a record that cannot be processed, as it was, with where it came from and why it failed.

`dead_letter` writes one; `Letter` is one that was read, `Letters` all that a topic has.
"""

import time
from dataclasses import dataclass, field
from typing import Any, Literal

from google.protobuf.message import DecodeError

from headrace.contracts.events_pb2 import DeadLetter, Header
from headrace.contracts.plain_values import time_of
from headrace.contracts.topics import dead_letters
from headrace.runtime.secrets import clean
from headrace.streams.chunks import Record, timestamp_ms

Phase = Literal["decode", "features", "forward", "predictions", "join", "train"]
_LONGEST_REASON = 2000

REPLAY_PREFIX = "headrace-replay-"
ATTEMPT = REPLAY_PREFIX + "attempt"
"""Header of a record that was put back: how often by now."""


def dead_letter(
    record: Record, *, phase: Phase, error: Exception | str, service: str, model: str, version: int
) -> bytes:
    """The dead letter of `record`, encoded; its Kafka key is the record's."""
    reason = clean(str(error)) or type(error).__name__
    letter = DeadLetter(
        topic=record.topic(),
        partition=record.partition(),
        offset=record.offset(),
        timestamp_ms=timestamp_ms(record),
        key=record.key(),
        value=record.value(),
        headers=[Header(name=name, value=value) for name, value in record.headers() or ()],
        phase=phase,
        reason=reason[:_LONGEST_REASON],
        error_type="" if isinstance(error, str) else type(error).__name__,
        service=service,
        model=model,
        model_version=version,
        at_us=time.time_ns() // 1000,
    )
    return letter.SerializeToString()


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

    def as_dict(self, *, replayed: bool) -> dict[str, Any]:
        """Plain values, for programs, without the original bytes; `replayed` is whether its record was put back."""
        body = self.body
        return {
            "letter": self.place,
            "topic": body.topic,
            "partition": body.partition,
            "offset": body.offset,
            "at": time_of(body.at_us / 1e6),
            "phase": body.phase,
            "reason": body.reason,
            "error_type": body.error_type,
            "service": body.service,
            "model": body.model,
            "model_version": body.model_version,
            "size": len(body.value),
            "attempt": self.attempt,
            "replayed": replayed,
        }


@dataclass
class Letters:
    """What a topic of dead letters holds; `unreadable` are the places of records that are not letters of it."""

    topic: str
    found: list[Letter] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    @property
    def unreadable_places(self) -> list[str]:
        """The same for people, with the topic that they are on."""
        return [f"{dead_letters(self.topic)} at {place}" for place in self.unreadable]

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
