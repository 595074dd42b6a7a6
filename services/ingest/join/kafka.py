"""The join's two logs on Kafka: one consumer of both topics, partition p of both in the same process."""

from collections.abc import Sequence
from typing import cast

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Message, TopicPartition

from headrace.runtime import kafka
from headrace.runtime.errors import DataError, DependencyError
from headrace.runtime.logging import get_logger
from headrace.runtime.settings import ServiceSettings
from headrace.streams.membership import Member, Membership
from headrace.streams.polled import by_partition, without_errors
from services.ingest.join.ports import Names, Owner, Polled
from services.ingest.join.service import EVENTS, LABELS, SIDES, Records, Resume

log = get_logger("headrace.join")

REQUEST_S = 30.0
"""Longer than a transaction's timeout: until that is over, offsets that a crashed member left pending are not told."""

END_S = 2.0

CONSUMER_CONFIG = {
    # Range, by the classic protocol: partition p of two topics with equally many partitions goes to the same member.
    "partition.assignment.strategy": "range",
    "enable.partition.eof": True,
    # The client fetches ahead, for each partition of both topics, 100,000 records and 64 MiB by default: for eight
    # partitions some hundreds of MiB. Two batches are enough to keep it busy.
    "queued.min.messages": 20_000,
    "queued.max.messages.kbytes": 16_384,
}


def group_of(pipeline: str) -> str:
    """The consumer group of a pipeline's join."""
    return f"headrace.join.{pipeline}"


class KafkaLogs:
    """See `services.ingest.join.ports.Logs`. Construct, `open`, poll from one thread, `close`.

    `member` is this process's name in the group, the same after a restart.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        names: Names,
        owner: Owner,
        *,
        member: str,
        batch: int,
        wait_s: float,
        session_s: float,
    ) -> None:
        self._names, self._owner, self._batch, self._wait_s = names, owner, batch, wait_s
        self._sides = {topic: side for side, topic in enumerate(names.topics)}
        self._membership, self._paused = Membership(), set[tuple[int, int]]()
        config = {
            # A static member: a restarted process is the member that it was, and need not wait until that one is given
            # up.
            "group.instance.id": member,
            "session.timeout.ms": round(session_s * 1000),
            "heartbeat.interval.ms": round(session_s * 1000 / 4),
        }
        self._consumer: Consumer = kafka.consumer(settings, group_of(names.pipeline), **CONSUMER_CONFIG, **config)
        self._begins: list[TopicPartition] = []
        self.partitions: list[int] = []
        """Those assigned now."""
        self.assignments = 0

    def open(self) -> None:
        """Join the group."""
        self._consumer.subscribe(
            list(self._names.topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def poll(self) -> Polled:
        """See `Logs`."""
        generation, polled = self._membership.generation, Polled()
        messages, failed = without_errors(self._messages())
        self._note_ends(failed, polled)
        polled.records = {self._where(found[0]): _records(found) for found in by_partition(messages)}
        if generation == self._membership.generation:
            return polled
        # A rebalance fell inside this very call, and nobody can tell which records came before it: begin again after
        # it.
        if polled.records or polled.ends:
            self._consumer.assign(self._begins)
        return Polled()

    def _note_ends(self, messages: Sequence[Message], polled: Polled) -> None:
        for message in messages:
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own name
                polled.ends[self._where(message)] = _offset(message)
            else:
                kafka.check(message)

    def pause(self, side: int, partition: int, *, paused: bool) -> None:
        """See `Logs`."""
        where = (side, partition)
        if paused == (where in self._paused):
            return
        change, remember = (
            (self._consumer.pause, self._paused.add) if paused else (self._consumer.resume, self._paused.discard)
        )
        change([TopicPartition(self._names.topics[side], partition)])
        remember(where)

    def behind(self, side: int, partition: int, position: int) -> int:
        """See `Logs`."""
        where = TopicPartition(self._names.topics[side], partition)
        bounds = self._consumer.get_watermark_offsets(where, cached=True)
        return max(0, bounds[1] - position)

    def end(self, side: int, partition: int) -> int | None:
        """See `Logs`."""
        where = TopicPartition(self._names.topics[side], partition)
        try:
            bounds = self._consumer.get_watermark_offsets(where, timeout=END_S)
        except KafkaException as error:
            log.debug("asking for a log's end", where=f"{where.topic}[{partition}]", error=error.args[0].str())
            return None
        return bounds[1]

    def rejoin(self) -> None:
        """See `Logs`."""
        self._on_revoke(self._consumer, [])
        self._consumer.unsubscribe()
        self.open()

    def member(self) -> Member:
        """See `Logs`."""
        self._membership.refresh(self._consumer.consumer_group_metadata())
        return self._membership.current

    def lag(self) -> dict[str, int]:
        """Records of each topic not read yet, as far as the last fetches know."""
        found = dict.fromkeys(self._names.topics, 0)
        for position in self._consumer.position(self._all(self.partitions)):
            _, high = self._consumer.get_watermark_offsets(position, cached=True)
            found[position.topic] += max(0, high - position.offset) if position.offset >= 0 else 0
        return found

    def _messages(self) -> Sequence[Message]:
        try:
            return self._consumer.consume(self._batch, self._wait_s)
        except KafkaException as error:
            raise kafka.translate(error, f"reading {' and '.join(self._names.topics)}") from error

    def _where(self, message: Message) -> tuple[int, int]:
        return self._sides[str(message.topic())], int(message.partition() or 0)

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        by_topic = [sorted(t.partition for t in assigned if t.topic == topic) for topic in self._names.topics]
        if by_topic[EVENTS] != by_topic[LABELS]:
            raise DependencyError(
                f"{' and '.join(self._names.topics)} are not partitioned alike: got {by_topic}",
                hint="both must have the same number of partitions",
            )
        self.partitions = by_topic[EVENTS]
        doing = f"finding where to go on in {' and '.join(self._names.topics)}"
        self._begins = starts = kafka.patiently(self._starts, doing) if self.partitions else []
        consumer.assign(starts)
        self._paused.clear()
        self._membership.advance(consumer.consumer_group_metadata())
        self.assignments += 1
        log.info("assigned", partitions=self.partitions, starts={f"{t.topic}[{t.partition}]": t.offset for t in starts})

    def _on_revoke(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self.partitions, self._begins = [], []
        self._membership.advance(None)
        self._owner.revoked()

    def _starts(self) -> list[TopicPartition]:
        found = self._consumer.committed(self._all(self.partitions), timeout=REQUEST_S)
        bounds = {(t.topic, t.partition): self._consumer.get_watermark_offsets(t, timeout=REQUEST_S) for t in found}
        committed = {(self._sides[t.topic], t.partition): _resume(t, *bounds[t.topic, t.partition]) for t in found}
        starts: list[TopicPartition] = []
        for partition in self.partitions:
            begins = self._owner.assigned(partition, committed[EVENTS, partition], committed[LABELS, partition])
            starts += [TopicPartition(self._names.topics[side], partition, begins[side]) for side in SIDES]
        for start in starts:
            start.offset = max(start.offset, bounds[start.topic, start.partition][0])
            self._owner.started(start.partition, self._sides[start.topic], start.offset)
        return starts

    def _all(self, partitions: Sequence[int]) -> list[TopicPartition]:
        return [TopicPartition(topic, p) for p in partitions for topic in self._names.topics]


def _offset(message: Message) -> int:
    return int(message.offset() or 0)


def _records(messages: list[Message]) -> Records:
    """By column, by calls of C code only, for this is done for every record."""
    offsets, values = cast("list[int]", list(map(Message.offset, messages))), list(map(Message.value, messages))
    if None in values:
        values = [value or b"" for value in values]
    timestamps = [timestamp for _, timestamp in map(Message.timestamp, messages)]
    return Records(offsets, timestamps, cast("list[bytes]", values), messages)


def _resume(committed: TopicPartition, low: int, high: int) -> Resume:
    """What was committed, or the log's beginning where nothing was, or where retention has already taken more."""
    where = f"{committed.topic}[{committed.partition}]"
    if committed.error is not None:
        raise DependencyError(f"committed offset of {where}: {committed.error}")
    if committed.offset == OFFSET_INVALID:
        return Resume(low)
    if committed.offset > high:
        raise DataError(
            f"{where} ends at {high}, but {committed.offset} was committed: the topic was made anew",
            hint="delete the join's consumer group to read it from its beginning",
        )
    if committed.offset < low:
        log.warning(
            "records were deleted before they were joined", where=where, committed=committed.offset, begins_at=low
        )
    return Resume(max(committed.offset, low), committed.metadata or "")
