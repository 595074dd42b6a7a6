"""Faust's side of the consumer: chunks as Faust messages, rebalances as Faust expects them, commits as the app decides.

One Faust message is one chunk: its value is the `Chunk`, its offset the chunk's last one. A rebalance is, whatever the
group
protocol: quiesce (Faust stops its flow, agents and `Flow` finish what is in hand), a new generation, restart at the
committed offsets. So a record is never in hand twice, and never in two generations.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, cast

from faust.transport import consumer as base
from faust.types import TP, ConsumerMessage, Message

from headrace.runtime.errors import ConfigError, DependencyError, HeadraceError
from headrace.streams.buffer import ChunkBuffer
from headrace.streams.chunks import NO_TIMESTAMP, Chunk, Partition
from headrace.streams.transport import positions
from headrace.streams.transport.host import ChunkHost
from headrace.streams.transport.poller import Poller


class ChunkConsumer(base.Consumer):
    """Consumer whose messages are chunks. Its options are the app's `ChunkOptions`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._host: ChunkHost = cast("ChunkHost", self.app)
        options = self._host.chunks
        self._options = options
        self._flow = options.flow
        self._buffer = ChunkBuffer(options.limits)
        self._poller = Poller(options.make_consumer, self._buffer, self, reset=options.reset)
        self._wake = asyncio.Event()
        self._flow.bind(self._wake.set)
        self._issued: defaultdict[TP, deque[int]] = defaultdict(deque)
        self._counts: dict[str, int] = {}

    # -- life
    # ------------------------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Start polling."""
        await super().on_start()
        self._main = asyncio.get_running_loop()
        self._poller.start()

    async def on_stop(self) -> None:
        """Finish what is in hand, then leave the group."""
        await super().on_stop()
        await asyncio.to_thread(self._poller.close)

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group."""
        if self.app.tables:
            raise ConfigError(
                f"tables ({', '.join(self.app.tables)}) need Faust's own assignor, "
                "which only the aiokafka driver runs: "
                "this transport cannot recover them",
                hint="keep state in the agent and rebuild it from its topic, "
                "or run this app on Faust's aiokafka transport",
            )
        names = sorted(topics)
        self._counts = await self._do(positions.partition_counts, names)
        if missing := [topic for topic in names if topic not in self._counts]:
            raise DependencyError(
                f"no such topic: {', '.join(missing)}", hint="headrace up creates a pipeline's topics"
            )
        await self._do(self._poller.subscribe, names)

    async def _do(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.wrap_future(self._poller.call(function, *arguments))

    def close(self) -> None:
        """Leaving the group is `on_stop`'s part, once the work in hand is committed."""

    # -- the poll thread's listener
    # --------------------------------------------------------------------------------------

    def on_quiesce(self, revoked: set[Partition], *, lost: bool) -> "Future[None]":
        """Stop Faust's flow and wait for the work in hand.

        Nothing more is committed of it when the partitions are lost.
        """
        return asyncio.run_coroutine_threadsafe(self._quiesce({TP(*p) for p in revoked}, lost=lost), self._main)

    def on_assignment(self, assigned: set[Partition], metadata: bytes | None) -> None:
        """Begin a generation and let Faust start its streams on it."""
        generation = self._host.membership.advance(metadata)
        self.app.consumer_generation_id = generation
        asyncio.run_coroutine_threadsafe(self._assigned({TP(*p) for p in assigned}, generation), self._main)

    def on_records(self) -> None:
        """Wake the fetcher."""
        self._main.call_soon_threadsafe(self._wake.set)

    def on_metadata(self, metadata: bytes) -> None:
        """Keep the group metadata fresh."""
        self._host.membership.refresh(metadata)

    def on_error(self, error: HeadraceError) -> None:
        """End the app with this error."""
        self._main.call_soon_threadsafe(self._host.fail, error)

    async def _quiesce(self, revoked: set[TP], *, lost: bool) -> None:
        self.app.on_rebalance_start()
        if lost:
            self.stop_flow()
            self.app.consumer_generation_id = self._host.membership.advance(None)
        if self._poller.assigned:
            await self.on_partitions_revoked(revoked)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """As Faust's, but what the agents finish meanwhile is committed before these partitions are given up."""
        self._active_partitions.difference_update(revoked)
        self._paused_partitions.difference_update(revoked)
        await self._on_partitions_revoked(revoked)

    async def _assigned(self, assigned: set[TP], generation: int) -> None:
        self._flow.begin(generation)
        self._issued.clear()
        for book in (self._acked, self._acked_index, self._read_offset, self._committed_offset):
            book.clear()
        await self.on_partitions_assigned(assigned, generation)
        await self._host.tell_assignment({Partition(*tp) for tp in assigned})

    async def rewind(self) -> None:
        """Give up what is in hand and start again at the committed offsets."""
        await self._do(self._poller.rewind)

    # -- fetching
    # --------------------------------------------------------------------------------------------------------

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109 - Faust's signature
        """One round: a chunk of each partition that has records, when the flow wants it."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]
        generation = self.app.consumer_generation_id
        round_ = await self._getmany(self._get_active_partitions(), timeout)
        for tp, chunk in self.scheduler.iterate(round_):
            if not self.flow_active or self.app.consumer_generation_id != generation:
                break
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            yield tp, self._to_message(tp, chunk)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Mapping[TP, list[Chunk]]:  # noqa: ASYNC109
        generation = self.app.consumer_generation_id
        deadline = self._main.time() + timeout
        while self.flow_active and not self.should_stop and self.app.consumer_generation_id == generation:
            self._wake.clear()
            if self._flow.open(self._buffer.records):
                wanted = self._poller.assigned if active_partitions is None else active_partitions
                taken = self._buffer.take(cast("set[Partition]", wanted), self._options.most_per_round)
                if taken:
                    self._flow.issued()
                    return {TP(*p): [Chunk(*p, records, generation, len(taken))] for p, records in taken.items()}
            if not await self._woken(deadline):
                break
        return {}

    async def _woken(self, deadline: float) -> bool:
        try:
            async with asyncio.timeout_at(deadline):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    def _to_message(self, tp: TP, record: Chunk) -> ConsumerMessage:
        kind, timestamp = record.records[-1].timestamp()
        self._issued[tp].append(record.last_offset)
        seconds: Any = None if kind == NO_TIMESTAMP else timestamp / 1000.0
        value: Any = record  # Faust's annotation wants bytes; our schema takes it as it is
        return ConsumerMessage(
            tp.topic, tp.partition, record.last_offset, seconds, kind, None, None, value, None, 0, record.size_bytes,
            tp, generation_id=record.generation,
        )  # fmt: skip

    # -- acknowledging and committing
    # ------------------------------------------------------------------------------------

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Offsets inside a chunk, and those that markers take, are no gaps."""

    def _new_offset(self, tp: TP) -> int | None:
        """The offset after the last chunk of the unbroken run of acknowledged ones, from the oldest handed out."""
        issued, acked, done = self._issued[tp], self._acked_index[tp], None
        while issued and issued[0] in acked:
            done = issued.popleft()
            acked.discard(done)
        self._acked[tp] = sorted(acked)
        return None if done is None else done + 1

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: FBT001, FBT002
        """Commit acknowledged chunks; where transactions carry the offsets, only forget them."""
        if self._options.commit == "acknowledged":
            return await super().commit(topics, start_new_transaction)
        for tp in list(self._acked):
            self._new_offset(tp)
        return False

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        await self._do(positions.commit, dict(offsets))
        return True

    async def commit_offsets(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets outside of a transaction: at-least-once pipelines do, after their output is acknowledged."""
        await self._do(positions.commit, dict(offsets))

    async def wait_empty(self) -> None:
        """Wait for the agents, then for what they handed on."""
        await super().wait_empty()
        await self._flow.quiesce()

    # -- flow control and positions
    # --------------------------------------------------------------------------------------

    def pause_partitions(self, tps: Iterable[TP]) -> None:
        """Stop fetching these partitions."""
        super().pause_partitions(tps)
        self._poller.pause(Partition(*tp) for tp in self._paused_partitions)

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Fetch these partitions again."""
        super().resume_partitions(tps)
        self._poller.pause(Partition(*tp) for tp in self._paused_partitions)
        self._wake.set()

    def on_buffer_drop(self, tp: TP) -> None:
        """An agent's queue has room again."""
        super().on_buffer_drop(tp)
        self._wake.set()

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Put every partition to its committed offset; the offsets."""
        found = await self._do(self._poller.restart)
        return {TP(*p): offset for p, offset in found.items()}

    async def perform_seek(self) -> None:
        """As Faust's, but offset 0 is an offset like any other."""
        found = await self.seek_to_committed()
        self._read_offset.update(found)
        self._committed_offset.update(found)

    async def _seek(self, partition: TP, offset: int) -> None:
        self._buffer.drop([Partition(*partition)])
        await self._do(positions.seek, partition, offset)

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Seek several partitions."""
        for tp, offset in partitions.items():
            await self.seek(tp, offset)

    async def position(self, tp: TP) -> int | None:
        """The next offset that will be fetched; None before the first fetch."""
        return cast("int | None", await self._do(positions.position, tp))

    def assignment(self) -> set[TP]:
        """The assigned partitions."""
        return {TP(*p) for p in self._poller.assigned}

    def highwater(self, tp: TP) -> int:
        """The end of the log as the last fetch saw it; 0 before."""
        return self._poller.highwaters.get(Partition(*tp), 0)

    @property
    def known_highwaters(self) -> Mapping[Partition, int]:
        """`highwater` of every partition that was fetched from."""
        return self._poller.highwaters

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """The first offset that each partition still has."""
        return {tp: (await self._do(positions.watermarks, tp))[0] for tp in partitions}

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """The end of each partition's log, asked of the broker."""
        return {tp: (await self._do(positions.watermarks, tp))[1] for tp in partitions}

    def topic_partitions(self, topic: str) -> int | None:
        """Number of partitions of a subscribed topic."""
        return self._counts.get(topic)

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:  # noqa: ARG002 - Faust's signature
        """Only Faust's own transactions ask, which this transport does not use."""
        return partition

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    async def create_topic(self, topic: str, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002 - Faust's signature
        """Topics come from the catalogue (`headrace.contracts.topics`), never from an app."""
        self.log.warning("not creating topic %s: topics come from the catalogue", topic)
