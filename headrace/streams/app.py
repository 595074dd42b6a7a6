"""`chunk_app`: a Faust app whose streams are of chunks.

app = chunk_app("fraud", kafka=settings, datadir=folder)

@app.agent(app.chunks_of("payments"))
async def watch(stream):
    async for chunk in stream: ...          # headrace.streams.Chunk
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast

import faust
from faust.tables.manager import TableManager
from faust.types import Message

from headrace.runtime import kafka
from headrace.runtime.errors import HeadraceError
from headrace.runtime.lifecycle import Stop, until_stopped
from headrace.runtime.settings import ServiceSettings
from headrace.streams.buffer import Limits
from headrace.streams.chunks import Partition
from headrace.streams.delivery import Output
from headrace.streams.flow import AgentFlow, Flow
from headrace.streams.membership import Membership
from headrace.streams.options import ChunkOptions, Commit
from headrace.streams.transport.consumer import ChunkConsumer
from headrace.streams.transport.driver import ChunkTransport


class NoTables(TableManager):
    """Faust's own first waits a second for tables to be declared; this transport has none."""

    async def on_start(self) -> None:
        """As Faust's, without the wait."""
        await self._update_channels()
        await self.recovery.start()


class ChunkSchema(faust.Schema):  # type: ignore[type-arg]
    """Events carry the chunk as it is: raw bytes, to be decoded by columns and not by Faust."""

    def compile(self, app: Any, **_: Any) -> Callable[..., Awaitable[Any]]:
        """A decoder that decodes nothing."""

        async def decode(message: Message, *, propagate: bool = False) -> Any:  # noqa: ARG001 - Faust's signature
            return app.create_event(None, message.value, None, message)

        return decode


class ChunkApp(faust.App):
    """A Faust app on the chunked transport. `membership` is this process's place in its group."""

    def __init__(self, name: str, *, chunks: ChunkOptions, **settings: Any) -> None:
        self.chunks = chunks
        self.membership = chunks.membership
        self._failure: HeadraceError | None = None
        self._failed: asyncio.Event | None = None
        self._on_assignment: list[Callable[[set[Partition]], None]] = []
        self._during: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self._runs = False
        super().__init__(name, **settings)

    def chunks_of(self, *topics: str) -> Any:
        """The topics as a channel of chunks."""
        return self.topic(*topics, schema=ChunkSchema())

    def on_assignment(self, tell: Callable[[set[Partition]], None]) -> None:
        """Have `tell` called with every new assignment, on the event loop."""
        self._on_assignment.append(tell)

    def during(self, begin: Callable[[], None], end: Callable[[], None]) -> None:
        """Have `begin` called before anything is consumed, and `end` once the group is left.

        In a thread, so they may block.
        """
        self._during.append((begin, end))

    async def tell_assignment(self, assigned: set[Partition]) -> None:
        """Called by the consumer."""
        for tell in self._on_assignment:
            tell(assigned)

    def fail(self, error: HeadraceError) -> None:
        """End `run` with this error; only the first counts. On the event loop."""
        if self._failure is None:
            self._failure = error
            if self._failed is not None:
                self._failed.set()
            elif not self.crashed:
                self.add_future(self.crash(error))  # Faust's own worker sees it and exits

    def highwaters(self) -> Mapping[Partition, int]:
        """The end of each assigned partition's log, as of the last fetch."""
        return cast("ChunkConsumer", self.consumer).known_highwaters

    async def rewind(self) -> None:
        """Give up everything in hand and begin a new generation at the committed offsets."""
        await cast("ChunkConsumer", self.consumer).rewind()

    async def commit_offsets(self, output: Output) -> None:
        """Commit an output's offsets outside of a transaction."""
        await cast("ChunkConsumer", self.consumer).commit_offsets(output.offsets)

    async def run(self, stop: Stop) -> None:
        """Run until `stop` is set; then finish what is in hand, commit and leave the group.

        Raises:
            HeadraceError: the app could not go on.
        """
        self._failed, self._runs = asyncio.Event(), True
        await self._begin()
        try:
            await until_stopped(stop, self._start_and_wait(), self._failed.wait())  # type: ignore[arg-type]
        finally:
            await self.stop()
            await self._end()
        if self._failure is not None:
            raise self._failure

    async def on_start(self) -> None:
        """Under Faust's own worker, what `run` does before: called before the consumer starts."""
        await super().on_start()
        if not self._runs:
            await self._begin()

    async def on_shutdown(self) -> None:
        """Under Faust's own worker, what `run` does after: called once the consumer has stopped."""
        await super().on_shutdown()
        if not self._runs:
            await self._end()

    async def _begin(self) -> None:
        for begin, _ in self._during:
            await asyncio.to_thread(begin)
        await self.chunks.flow.start(self)

    async def _end(self) -> None:
        await self.chunks.flow.close()
        for _, end in reversed(self._during):
            await asyncio.to_thread(end)

    async def _start_and_wait(self) -> None:
        await self.start()
        await asyncio.Event().wait()

    def _crash(self, reason: BaseException) -> None:
        """A service of the app crashed: Faust marks all of them, and `run` ends."""
        super()._crash(reason)
        if isinstance(reason, HeadraceError):
            self.fail(reason)
            return
        error = HeadraceError(f"the Faust app {self.conf.id!r} crashed: {reason!r}")
        error.__cause__ = reason
        self.fail(error)

    def _new_transport(self) -> ChunkTransport:
        return ChunkTransport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> ChunkTransport:
        return ChunkTransport(self.conf.broker_producer, self)


def chunk_app(
    name: str,
    *,
    kafka_settings: ServiceSettings,
    datadir: Path | str,
    commit: Commit = "acknowledged",
    flow: Flow | None = None,
    membership: Membership | None = None,
    limits: Limits | None = None,
    most_per_round: int = 10_000,
    consumer_config: dict[str, Any] | None = None,
    **settings: Any,
) -> ChunkApp:
    """A Faust app of consumer group `name` on the chunked transport.

    `consumer_config` are further librdkafka settings; `settings` further Faust ones.
    """
    extra = consumer_config or {}
    options = ChunkOptions(
        make_consumer=lambda protocol: kafka.consumer(kafka_settings, name, **_group_protocol(protocol), **extra),
        make_producer=lambda: kafka.producer(kafka_settings),
        commit=commit,
        flow=flow or AgentFlow(),
        membership=membership or Membership(),
        limits=limits or Limits(),
        most_per_round=most_per_round,
        reset=extra.get("auto.offset.reset", "earliest"),
    )
    fixed = {
        "autodiscover": False,
        "broker": f"kafka://{kafka_settings.kafka_bootstrap_servers.replace(',', ';kafka://')}",
        "datadir": str(datadir),
        "processing_guarantee": "at_least_once",  # Faust's own transactions do not work; ours are the pipeline's
        "stream_buffer_maxsize": 2,  # chunks; what is bounded in records and bytes is the transport's buffer
        "stream_wait_empty": True,
        "TableManager": NoTables,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "web_enabled": False,
    }
    return ChunkApp(name, chunks=options, **{**fixed, **settings})


def _group_protocol(protocol: str) -> dict[str, Any]:
    if protocol == "consumer":
        return {"group.protocol": "consumer"}
    return {
        "group.protocol": "classic",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": 10_000,  # how soon a killed member's partitions move; with KIP-848 the broker decides it
    }
