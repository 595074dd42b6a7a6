"""The role `join`: reads both logs of every assigned partition, and sends pairs, dead letters and offsets in one transaction.

Speaks to the logs through `Logs` and to the broker's transactions through `headrace.streams.delivery.Sink`.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from headrace.contracts.records import TRACEPARENT
from headrace.contracts.topics import EVENTS as EVENTS_TOPIC
from headrace.contracts.topics import EXAMPLES, dead_letters
from headrace.contracts.topics import LABELS as LABELS_TOPIC
from headrace.deadletters.letters import dead_letter
from headrace.runtime.logging import get_logger
from headrace.streams.chunks import Partition
from headrace.streams.delivery import AbortedError, Batch, Outgoing, Output, Sink
from headrace.streams.membership import Member
from services.ingest.join.service import (
    EVENTS,
    LABELS,
    SIDES,
    Counts,
    KeyOf,
    Pair,
    PairJoin,
    Record,
    Rejected,
    Resume,
    reread_from,
)
from services.ingest.join.service import Output as Joined

log = get_logger("headrace.join")

SideOf = tuple[int, int]
"""(side, partition)."""


@dataclass
class Polled:
    """What one poll returned: records by side and partition, and the ends of logs that were reached."""

    records: dict[SideOf, list[Record]] = field(default_factory=dict)
    ends: dict[SideOf, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ReadFrom:
    """Where to begin to read a partition's logs: at the committed offsets, or (`rebuild`) at a time in ms; None: all of it."""

    rebuild: bool
    at_ms: int | None = None


class Owner(Protocol):
    """Who is told about assignments, from inside `Logs.poll`."""

    def assigned(self, partition: int, events: Resume, labels: Resume) -> ReadFrom:
        """A partition is ours, committed so far."""
        ...

    def started(self, partition: int, side: int, offset: int) -> None:
        """Reading this side begins at `offset`."""
        ...

    def revoked(self) -> None:
        """Nothing is ours any more."""
        ...


class Logs(Protocol):
    """The events and labels of the pipeline, as one member of a consumer group sees them."""

    def poll(self) -> Polled:
        """Records of both logs, in the order of each; waits a little for them."""
        ...

    def pause(self, side: int, partition: int, *, paused: bool) -> None:
        """Stop or go on returning this log's records."""
        ...

    def rejoin(self) -> None:
        """Give everything up and be assigned anew, to begin again at the committed offsets."""
        ...

    def member(self) -> Member:
        """This member's identity in the generation in which the last poll's records were read."""
        ...


@dataclass
class Names:
    """The pipeline's topics and what its records are called by."""

    pipeline: str
    topics: tuple[str, str]
    examples: str

    @classmethod
    def of(cls, pipeline: str) -> "Names":
        """Those of one pipeline."""
        return cls(pipeline, (EVENTS_TOPIC.name(pipeline), LABELS_TOPIC.name(pipeline)), EXAMPLES.name(pipeline))


class Joiner:
    """Joins the assigned partitions; one `step` is one poll and at most one transaction.

    Args:
        names: the pipeline's topics.
        window_ms: see `PairJoin`.
        key_of_event: see `KeyOf`.
        key_of_label: see `KeyOf`.
        sink: takes the transactions.
        max_waiting: see `PairJoin`.
        counted: called after every transaction with what happened since the last one.
    """

    def __init__(
        self, names: Names, window_ms: int, key_of_event: KeyOf, key_of_label: KeyOf, sink: Sink, *,
        max_waiting: int = 1_000_000, counted: Callable[[Counts, int], None] = lambda _counts, _rejected: None,
    ) -> None:  # fmt: skip
        self.joins: dict[int, PairJoin] = {}
        self._kept: dict[int, PairJoin] = {}
        self._names, self._window_ms, self._max_waiting = names, window_ms, max_waiting
        self._key_of_event, self._key_of_label = key_of_event, key_of_label
        self._sink, self._counted = sink, counted

    def assigned(self, partition: int, events: Resume, labels: Resume) -> ReadFrom:
        """See `Owner`. A join that this member held before goes on if nobody has committed beyond it."""
        kept = self._kept.pop(partition, None)
        if kept is not None and not kept.rebuilding and (kept.resume(EVENTS), kept.resume(LABELS)) == (events, labels):
            self.joins[partition] = kept
            return ReadFrom(rebuild=False)
        self.joins[partition] = PairJoin(
            self._window_ms, events, labels, self._key_of_event, self._key_of_label, max_waiting=self._max_waiting
        )
        return ReadFrom(rebuild=True, at_ms=reread_from(events, labels, self._window_ms))

    def started(self, partition: int, side: int, offset: int) -> None:
        """See `Owner`."""
        self.joins[partition].reach(side, offset)

    def revoked(self) -> None:
        """See `Owner`. Between steps nothing is uncommitted, so the state is kept in case the partition comes back."""
        self._kept, self.joins = self.joins, {}

    def step(self, logs: Logs) -> int:
        """Poll, join, commit; returns how many records were taken.

        Raises:
            FencedError: another process has this one's identity.
            DependencyError: the broker failed.
        """
        polled = logs.poll()
        produced: dict[int, Joined] = {}
        for (side, partition), records in polled.records.items():
            if partition in self.joins:
                _merge(produced, partition, self.joins[partition].feed(side, records))
        for (side, partition), end in polled.ends.items():
            if partition in self.joins:
                _merge(produced, partition, self.joins[partition].reach(side, end))
        touched = {p for _, p in polled.records} | {
            p for p, joined in produced.items() if joined.pairs or joined.rejected
        }
        self._commit(logs, {p: produced.get(p, Joined()) for p in touched if p in self.joins})
        self._hold(logs)
        return sum(map(len, polled.records.values()))

    def _hold(self, logs: Logs) -> None:
        for partition, join in self.joins.items():
            for side in SIDES:
                logs.pause(side, partition, paused=not join.wants(side))

    def _commit(self, logs: Logs, produced: Mapping[int, Joined]) -> None:
        live = {p: joined for p, joined in produced.items() if not self.joins[p].rebuilding}
        if not live:
            return
        member = logs.member()
        try:
            self._sink.deliver(self._output(member.generation, live), member)
        except AbortedError as error:
            log.warning("nothing was committed; starting again from the committed offsets", reason=str(error))
            self.joins, self._kept = {}, {}
            logs.rejoin()
            return
        for partition, joined in live.items():
            join = self.joins[partition]
            self._counted(join.counts, len(joined.rejected))
            join.counts = Counts()

    def _output(self, generation: int, live: Mapping[int, Joined]) -> Output:
        topics, output = self._names.topics, Output(generation, {})
        offsets = {Partition(topics[s], p): self.joins[p].resume(s) for p in live for s in SIDES}
        output.offsets = {where: resume.offset for where, resume in offsets.items()}
        output.metadata = {where: str(resume.watermark) for where, resume in offsets.items()}
        for partition, joined in live.items():
            self._add_examples(output, partition, joined.pairs)
            output.singles += [self._dead(partition, rejected) for rejected in joined.rejected]
        return output

    def _add_examples(self, output: Output, partition: int, pairs: list[Pair]) -> None:
        """In one batch, or one by one if any carries a trace context, so that their order stays."""
        traces = [_trace(pair.event) for pair in pairs]
        keys = [pair.event.message.key() or pair.key.encode() for pair in pairs]
        values = [encode_example(pair, partition) for pair in pairs]
        if any(traces):
            rows = zip(keys, values, traces, strict=True)
            output.singles += [Outgoing(self._names.examples, k, v, t or (), partition) for k, v, t in rows]
        elif pairs:
            records = [{"key": k, "value": v} for k, v in zip(keys, values, strict=True)]
            output.batches.append(Batch(self._names.examples, partition, records))

    def _dead(self, partition: int, rejected: Rejected) -> Outgoing:
        letter = dead_letter(
            rejected.record.message,
            phase="decode",
            error=rejected.error,
            service="join",
            model=self._names.pipeline,
            version=0,
        )
        topic = dead_letters(self._names.topics[rejected.side])
        return Outgoing(topic, rejected.record.message.key(), letter, (), partition)


def _merge(produced: dict[int, Joined], partition: int, joined: Joined) -> None:
    into = produced.setdefault(partition, Joined())
    into.pairs += joined.pairs
    into.rejected += joined.rejected


def _trace(event: Record) -> tuple[tuple[str, bytes | None], ...]:
    headers = event.message.headers()
    return tuple((name, value) for name, value in headers if name == TRACEPARENT) if headers else ()


def encode_example(pair: Pair, partition: int) -> bytes:
    """`records.Example` in JSON, the event and the label as they came: they were validated, so they need no second encoding."""
    event, label = pair.event, pair.label
    return b'{"key":%b,"event":%b,"label":%b,"event_source":[%d,%d],"label_source":[%d,%d],"event_ms":%d,"label_ms":%d}' % (
        msgspec.json.encode(pair.key), event.value, label.value, partition, event.offset, partition, label.offset,
        event.timestamp_ms, label.timestamp_ms,
    )  # fmt: skip


def run(
    joiner: Joiner, logs: Logs, stopped: Callable[[], bool], tick: Callable[[], None], every_s: float = 1.0
) -> None:
    """Step until stopped; call `tick` about every `every_s` seconds."""
    due = time.monotonic()
    while not stopped():
        joiner.step(logs)
        if time.monotonic() >= due:
            due = time.monotonic() + every_s
            tick()
