"""The role `agent`, composed: directives and workers' messages go into `HostAgent`, and what it answers goes out."""

import asyncio
import time
import zlib
from collections.abc import Iterable

from headrace.contracts.events_pb2 import RolloutDirective
from headrace.contracts.topics import system_topics
from headrace.rollouts.feed import DirectiveFeed
from headrace.runtime import kafka
from headrace.runtime.lifecycle import Context, Stop, until_stopped
from headrace.runtime.logging import get_logger
from headrace.runtime.scheduling import lower_priority
from headrace.weights import agent_socket, open_store, signing_keys
from headrace.weights.host.peers.chunk_leases import ChunkLeases
from headrace.weights.worker.wire import ToAgent
from services.ckpt.agent import metrics
from services.ckpt.agent.delivery.delivery import Delivery
from services.ckpt.agent.delivery.outbox import Outbox
from services.ckpt.agent.delivery.turns import Turns
from services.ckpt.agent.kafka import Reports
from services.ckpt.agent.pulling.peers import Peers
from services.ckpt.agent.pulling.puller import Puller
from services.ckpt.agent.pulling.slots import HostSlots
from services.ckpt.agent.service import HostAgent
from services.ckpt.agent.settings import AgentSettings
from services.ckpt.agent.state import Connection, Effect
from services.ckpt.agent.worker_socket import WorkerSocket

log = get_logger("headrace.ckpt")


class AgentApp:
    """Serves one host's workers.

    The event loop's thread runs the logic; Kafka is read, and versions are pulled, in threads of their own.
    """

    def __init__(self, context: Context[AgentSettings]) -> None:
        self._settings = settings = context.settings
        lower_priority(settings.nice)  # before any thread is started
        self._ready = context.ready
        self._ready.declare("directives", "socket")
        key, path, leases = signing_keys(settings), agent_socket(settings), ChunkLeases()
        self._logic = HostAgent(
            agent=settings.instance, host=settings.host_name, signing_key=key, fence_grace_s=settings.fence_grace_s
        )
        self._store = open_store(settings)
        self._peers = Peers(settings, leases, key) if settings.peers else None
        slots = HostSlots(
            self._store,
            run=f"{zlib.crc32(str(path).encode()):08x}",
            limit=settings.slots,
            parallel=settings.parallel_pulls,
            peers=self._peers,
            leases=leases,
        )
        self._socket = WorkerSocket(path, self._on_message, self._on_gone)
        self._delivery = Delivery(
            self._socket.send,
            turns=Turns(settings.stage_at_once),
            outbox=Outbox(),
            more_to_come=self._logic.more_to_come,
            bytes_given=leases.served,
        )
        self._puller = Puller(self._logic, slots, self._peers, self._apply)
        self._caught_up = asyncio.Event()

    async def run(self, stop: Stop) -> None:
        """Serve this host's workers until stopped."""
        await asyncio.to_thread(kafka.ensure_topics, self._settings, system_topics())
        self._delivery.open(Reports(self._settings))
        if self._peers is not None:
            self._logic.reporter.peer_address = self._peers.open()
        reading = Stop()
        try:
            await until_stopped(
                stop, self._follow(reading), self._listen(), self._puller.run(), self._tick(), self._delivery.run()
            )
        finally:
            reading.set("the agent stops")
            await self._close()

    async def _close(self) -> None:
        """Report every worker as gone, let the workers go, and remove the slots once nothing writes to them."""
        self._puller.cancel()
        self._apply(self._logic.on_stop(time.time()))
        self._delivery.flush()
        await self._socket.close()
        await self._delivery.close()
        if self._peers is not None:
            await asyncio.to_thread(self._peers.close)
        await self._puller.close()
        self._store.close()

    async def _follow(self, reading: Stop) -> None:
        """Read directives in a thread, and handle them here."""
        loop = asyncio.get_running_loop()

        def on_directive(directive: RolloutDirective) -> None:
            loop.call_soon_threadsafe(self._on_directive, directive)

        def on_caught_up() -> None:
            loop.call_soon_threadsafe(self._caught_up.set)

        await asyncio.to_thread(DirectiveFeed(self._settings).run, reading, on_directive, on_caught_up)

    async def _listen(self) -> None:
        """Let workers in once it is known what the fleet serves."""
        await self._caught_up.wait()
        self._ready.set("directives", ok=True)
        await self._socket.open()
        self._ready.set("socket", ok=True)
        await asyncio.Event().wait()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._settings.heartbeat_s)
            self._apply(self._logic.on_tick(time.time()))
            self._delivery.poll()
            metrics.count_workers(self._logic)

    def _on_directive(self, directive: RolloutDirective) -> None:
        now = time.time()
        self._apply(self._logic.on_directive(directive, now))
        if self._caught_up.is_set():
            metrics.ANNOUNCE.labels(directive.model).observe(max(0.0, now - directive.issued_at_us / 1e6))
            log.info(
                "directive",
                model=directive.model,
                action=RolloutDirective.Action.Name(directive.action),
                version=directive.version,
                sequence=directive.sequence,
                epoch=directive.coordinator_epoch,
            )

    def _on_message(self, connection: Connection, message: ToAgent) -> None:
        effects = self._logic.on_message(connection, message, time.time())
        self._delivery.on_message(connection, message)
        self._apply(effects)

    def _on_gone(self, connection: Connection) -> None:
        effects = self._logic.on_gone(connection, time.time())
        self._delivery.on_gone(connection)
        self._apply(effects)
        metrics.count_workers(self._logic)

    def _apply(self, effects: Iterable[Effect]) -> None:
        self._delivery.deliver(effects)
        self._puller.wake()
