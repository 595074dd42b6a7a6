"""The role `join`: reads both logs of every assigned partition; pairs, dead letters and offsets go in one transaction.

Speaks to the logs through `services.ingest.join.ports.Logs`, to transactions through `headrace.streams.delivery.Sink`.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from headrace.contracts.topics import dead_letters
from headrace.deadletters.letters import dead_letter
from headrace.runtime.logging import get_logger
from headrace.streams.chunks import Partition
from headrace.streams.delivery import AbortedError, Batch, Outgoing, Output, Sink
from services.ingest.join.delivery import Delivery
from services.ingest.join.examples import ExampleWriter, key_of, trace, whole
from services.ingest.join.ports import Logs, Names, SideOf
from services.ingest.join.rules import SIDES, Counts, KeyOf, Pair, Rejected, Rules, UnmatchedError
from services.ingest.join.rules import Output as Joined
from services.ingest.join.service import EVENTS, LABELS, PairJoin, Resume
from services.ingest.join.state.disk import Disk
from services.ingest.join.state.records import Origin

log = get_logger("headrace.join")

_WARN_EVERY_S = 60.0


class Joiner:
    """Joins the assigned partitions; one `step` is one poll and at most one transaction.

    Args:
        names: the pipeline's topics.
        rules: see `PairJoin`.
        key_of_event: see `KeyOf`.
        key_of_label: see `KeyOf`.
        sink: takes the transactions.
        writer: makes the examples; by default, of pairs with a label, each one.
        idle_s: seconds without a record after which a log may be taken to be idle.
        max_bytes: what the state of all assigned partitions may take together, each an equal part.
        disk: takes the oldest part of the state where that needs more; without it, that is given up.
        ahead: whether to read and join on while a transaction commits.
        counted: called after every transaction with what happened since the last one.
    """

    def __init__(
        self, names: Names, rules: Rules, key_of_event: KeyOf, key_of_label: KeyOf, sink: Sink, *,
        writer: ExampleWriter | None = None, idle_s: float = 0.0, max_bytes: int = 1 << 30, disk: Disk | None = None,
        ahead: bool = False, counted: Callable[[Counts, int], None] = lambda _counts, _rejected: None,
    ) -> None:  # fmt: skip
        self.joins: dict[int, PairJoin] = {}
        self._kept: dict[int, PairJoin] = {}
        self._names, self._rules, self._max_bytes = names, rules, max_bytes
        self._key_of_event, self._key_of_label = key_of_event, key_of_label
        self._delivery, self._counted, self._writer = (
            Delivery(sink, ahead=ahead),
            counted,
            writer or ExampleWriter(rules.window_ms),
        )
        self._disk, self._ahead = disk, ahead
        self._idle_s, self._read_at = idle_s, dict[SideOf, float]()
        self._warned_at = -_WARN_EVERY_S

    def assigned(self, partition: int, events: Resume, labels: Resume) -> tuple[int, int]:
        """See `Owner`. A join that this member held before goes on if nobody has committed beyond it."""
        kept = self._kept.pop(partition, None)
        if kept is not None and not kept.rebuilding and (kept.resume(EVENTS), kept.resume(LABELS)) == (events, labels):
            self.joins[partition] = kept
            return events.offset, labels.offset
        self.joins[partition] = PairJoin(
            self._rules, events, labels, self._key_of_event, self._key_of_label, disk=self._disk
        )
        return min(events.begin, events.offset), min(labels.begin, labels.offset)

    def started(self, partition: int, side: int, offset: int) -> None:
        """See `Owner`."""
        self.joins[partition].reach(side, offset)
        self._read_at[side, partition] = time.monotonic()

    def revoked(self) -> None:
        """See `Owner`. What is in hand is committed first; then the state is kept in case the partition comes back."""
        self._kept, self.joins = (self.joins if self._settled() else {}), {}

    def close(self) -> None:
        """Finish what is in hand."""
        try:
            self._settled()
        finally:
            self._delivery.close()

    def step(self, logs: Logs) -> int:
        """Poll, join, commit; returns how many records were taken.

        Raises:
            FencedError: another process has this one's identity.
            DependencyError: the broker failed.
        """
        if self._delivery.is_over and not self._settled():
            self._begin_again(logs)
        polled = logs.poll()
        produced: dict[int, Joined] = {}
        for join in self.joins.values():
            join.max_bytes = self._max_bytes // len(self.joins)
        self._read_at |= dict.fromkeys(polled.records, time.monotonic())
        for (side, partition), records in polled.records.items():
            if partition in self.joins:
                _merge(produced, partition, self.joins[partition].feed(side, records))
        for (side, partition), end in polled.ends.items():
            if partition in self.joins:
                _merge(produced, partition, self.joins[partition].reach(side, end))
        self._raise_low_times(logs, produced)
        touched = {p for _, p in polled.records} | {
            p for p, joined in produced.items() if joined.pairs or joined.rejected
        }
        self._commit(logs, {p: produced.get(p, Joined()) for p in touched if p in self.joins})
        self._hold(logs)
        return sum(map(len, polled.records.values()))

    def _raise_low_times(self, logs: Logs, produced: dict[int, Joined]) -> None:
        """Let no log that gets few records, or none, hold back its partition's other log.

        The broker is asked for the log's end after the other log's time is known. So whatever the log gets later was
        appended after all that was read of the other one.
        """
        for partition, join in self.joins.items():
            side = join.lagging()
            if side is not None and self._has_ended(logs, partition, side):
                _merge(produced, partition, join.raise_low(side))

    def _has_ended(self, logs: Logs, partition: int, side: int) -> bool:
        """Whether nothing more is to be read now, and was not for a while.

        Whoever replays the past faster than it went appends an event's label soon after it, but after many events.
        """
        if time.monotonic() < self._read_at.get((side, partition), 0.0) + self._idle_s:
            return False
        position = self.joins[partition].read_to(side)
        if logs.behind(side, partition, position):
            return False
        end = logs.end(side, partition)
        return end is not None and position >= end

    def _hold(self, logs: Logs) -> None:
        for partition, join in self.joins.items():
            for side in SIDES:
                paused = not join.wants(side) or self._is_ahead(logs, partition, side)
                logs.pause(side, partition, paused=paused)

    def _is_ahead(self, logs: Logs, partition: int, side: int) -> bool:
        """Whether this side fills the memory with what waits for records of the other that are there to be read."""
        join = self.joins[partition]
        if join.hot_bytes(side) <= join.max_bytes // 2:
            return False
        return logs.behind(1 - side, partition, join.read_to(1 - side)) > 0

    def _commit(self, logs: Logs, produced: Mapping[int, Joined]) -> None:
        live = {p: joined for p, joined in produced.items() if not self.joins[p].rebuilding}
        if not live:
            return
        member = logs.member()
        # 1. Output and positions of this round. The round before may still commit, with positions below these.
        output = self._output(member.generation, live)
        told = [(p, self.joins[p].counts, len(joined.rejected)) for p, joined in live.items()]
        for partition in live:
            self.joins[partition].counts = Counts()
        # 2. The round before must be committed: if it was not, this one, which goes on from it, is void.
        if not self._settled():
            self._begin_again(logs)
            return
        # 3. Deliver this one.
        self._delivery.begin(output, member, lambda: self._tell(told))
        if not self._ahead and not self._settled():
            self._begin_again(logs)

    def _settled(self) -> bool:
        """Wait for what is in hand; False if it was aborted."""
        try:
            self._delivery.settle()
        except AbortedError as error:
            log.warning("nothing was committed; starting again from the committed offsets", reason=str(error))
            return False
        return True

    def _begin_again(self, logs: Logs) -> None:
        self.joins, self._kept = {}, {}
        logs.rejoin()

    def _tell(self, told: Sequence[tuple[int, Counts, int]]) -> None:
        for partition, counts, rejected in told:
            self._counted(counts, rejected)
            self._warn(partition, counts)

    def _warn(self, partition: int, counts: Counts) -> None:
        """Name one record that was out of bounds, or say what was given up, now and then."""
        if not (counts.sample or counts.evicted or counts.forgotten):
            return
        if time.monotonic() < self._warned_at + _WARN_EVERY_S:
            return
        self._warned_at = time.monotonic()
        if counts.sample:
            side, record = counts.sample
            where = f"{self._names.topics[side]}[{partition}]@{record.offset}"
            log.warning(
                "timestamp out of bounds",
                where=where,
                timestamp_ms=record.timestamp_ms,
                policy=self._rules.out_of_bounds,
            )
        if counts.evicted or counts.forgotten:
            log.warning(
                "the join's memory and disk are full",
                records_given_up=counts.evicted,
                keys_given_up=counts.forgotten,
                hint="raise --max-state-bytes or --spill-bytes, shorten join.window_s, or add processes",
            )

    def _output(self, generation: int, live: Mapping[int, Joined]) -> Output:
        topics, output = self._names.topics, Output(generation, {})
        offsets = {Partition(topics[s], p): self.joins[p].resume(s) for p in live for s in SIDES}
        output.offsets = {where: resume.offset for where, resume in offsets.items()}
        output.metadata = {where: resume.state for where, resume in offsets.items()}
        for partition, joined in live.items():
            self._add_examples(output, partition, joined.pairs)
            output.singles += [self._dead(partition, rejected) for rejected in joined.rejected]
        return output

    def _add_examples(self, output: Output, partition: int, pairs: list[Pair]) -> None:
        """In one batch, or one by one if any carries a trace context, so that their order stays."""
        made = [made for made in zip(pairs, self._writer.encode_all(pairs, partition), strict=True) if made[1]]
        self.joins[partition].counts.sampled_out += len(pairs) - len(made)
        if any(pair.event.message is not None and trace(pair.event) for pair, _ in made):
            rows = [(key_of(pair), value, trace(pair.event)) for pair, value in made]
            output.singles += [Outgoing(self._names.examples, k, v, t, partition) for k, v, t in rows]
        elif made:
            records = [{"key": key_of(pair), "value": value} for pair, value in made]
            output.batches.append(Batch(self._names.examples, partition, records))

    def _dead(self, partition: int, rejected: Rejected) -> Outgoing:
        topic, record = self._names.topics[rejected.side], rejected.record
        message = whole(record, topic, partition) if isinstance(record.message, Origin) else record.message
        letter = dead_letter(
            message,
            phase="join" if isinstance(rejected.error, UnmatchedError) else "decode",
            error=rejected.error,
            service="join",
            model=self._names.pipeline,
            version=0,
        )
        return Outgoing(dead_letters(topic), message.key(), letter, (), partition)


def _merge(produced: dict[int, Joined], partition: int, joined: Joined) -> None:
    into = produced.setdefault(partition, Joined())
    into.pairs += joined.pairs
    into.rejected += joined.rejected


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
