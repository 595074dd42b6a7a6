"""The agent's loops: they connect `HostAgent` with Kafka, shared memory and the workers' socket."""

import asyncio
import contextlib
import time
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby

from headrace.contracts.events_pb2 import RolloutDirective, WeightsApplied
from headrace.contracts.topics import system_topics
from headrace.rollouts.feed import DirectiveFeed
from headrace.runtime import kafka
from headrace.runtime.lifecycle import Context, Stop, until_stopped
from headrace.runtime.logging import get_logger
from headrace.runtime.scheduling import lower_priority
from headrace.weights import Manifest, agent_socket, open_store, signing_key
from headrace.weights.errors import LOST, SlotsBusy, Superseded, WeightsError
from headrace.weights.host.peers.chunk_leases import ChunkLeases
from headrace.weights.worker.wire import ToAgent
from services.ckpt.agent import metrics
from services.ckpt.agent.kafka import Reports
from services.ckpt.agent.outbox import Outbox
from services.ckpt.agent.peers import Peers
from services.ckpt.agent.service import HostAgent
from services.ckpt.agent.settings import AgentSettings
from services.ckpt.agent.slots import HostSlots
from services.ckpt.agent.state import Effect, Send, Version
from services.ckpt.agent.turns import Turns
from services.ckpt.agent.workers import WorkerSocket

log = get_logger("headrace.ckpt")

BUSY_RETRY_S = 0.05


class AgentApp:
    """The agent: directives and workers' words go into `HostAgent`, and what it answers goes out.

    The event loop's thread runs the logic; Kafka is read, and versions are pulled, in threads of their own.
    """

    def __init__(self, context: Context[AgentSettings]) -> None:
        self._settings = settings = context.settings
        lower_priority(
            settings.nice
        )  # before any thread is started: a swap can wait for a moment, and those who serve cannot
        self._ready = context.ready
        self._ready.declare("directives", "socket")
        self._logic = HostAgent(
            agent=settings.instance,
            host=settings.host_name,
            signing_key=signing_key(settings),
            fence_grace_s=settings.fence_grace_s,
        )
        self._store = open_store(settings)
        path = agent_socket(settings)
        run = f"{zlib.crc32(str(path).encode()):08x}"
        self._shelf = ChunkLeases()
        self._peers = Peers(settings, self._shelf, signing_key(settings)) if settings.peers else None
        self._slots = HostSlots(
            self._store,
            run,
            limit=settings.slots,
            parallel=settings.parallel_pulls,
            peers=self._peers,
            shelf=self._shelf,
        )
        self._turns = Turns(settings.stage_at_once)
        self._outbox = Outbox()
        self._puller = ThreadPoolExecutor(1, "puller")
        self._socket = WorkerSocket(path, self._on_message, self._on_gone)
        self._caught_up = asyncio.Event()
        self._work = asyncio.Event()
        self._turned = asyncio.Event()
        self._reports: Reports | None = None
        self._ending = False

    async def run(self, stop: Stop) -> None:
        """Serve this host's workers until stopped."""
        await asyncio.to_thread(kafka.ensure_topics, self._settings, system_topics())
        self._reports = Reports(self._settings)
        if self._peers is not None:
            self._logic.peer_address = self._peers.open()
        reading = Stop()
        try:
            await until_stopped(
                stop, self._follow(reading), self._listen(), self._pull_for_ever(), self._tick(), self._keep_time()
            )
        finally:
            reading.set("the agent stops")
            self._ending = True
            self._apply(self._logic.on_stop(time.time()))
            self._write(self._outbox.take())
            await self._socket.close()
            await asyncio.to_thread(self._reports.close)
            if self._peers is not None:
                await asyncio.to_thread(self._peers.close)
            await asyncio.to_thread(self._puller.shutdown)  # nobody writes a slot that is being removed
            self._slots.close()
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

    async def _pull_for_ever(self) -> None:
        """Pull what the workers need, one version at a time, the newest that is wanted."""
        while True:
            version = self._logic.next_pull(time.time())
            if version is None or version.manifest is None:
                await self._work.wait()
                self._work.clear()
            else:
                await self._pull(version, version.manifest)

    async def _pull(self, version: Version, manifest: Manifest) -> None:
        keep = self._logic.keeps(version.model)
        routes = self._peers.routes(version.peers) if self._peers is not None else None

        def cancelled() -> bool:
            return self._ending or not self._logic.wants(version)

        fill = partial(self._slots.fill, manifest, keep, cancelled, routes)
        try:
            path, pulled = await asyncio.get_running_loop().run_in_executor(self._puller, fill)
        except Superseded:
            log.info("pull given up for a newer version", model=version.model, version=version.version)
        except SlotsBusy:
            await asyncio.sleep(BUSY_RETRY_S)  # the kernel tells nobody when a lock is released
        except WeightsError as error:
            metrics.PULL_FAILURES.labels(version.model).inc()
            log.warning("pull failed", model=version.model, version=version.version, error=str(error))
            lost = isinstance(error, LOST)
            self._apply(self._logic.on_pull_failed(version, str(error), time.time(), lost=lost))
        else:
            metrics.PULL.labels(version.model).observe(pulled.seconds)
            metrics.PULLED.labels(version.model).inc(pulled.bytes_pulled - pulled.bytes_from_peers)
            metrics.FROM_PEERS.labels(version.model).inc(pulled.bytes_from_peers)
            metrics.REUSED.labels(version.model).inc(pulled.bytes_reused)
            log.info(
                "pulled and verified",
                model=version.model,
                version=version.version,
                bytes=pulled.bytes_pulled,
                from_peers=pulled.bytes_from_peers,
                reused=pulled.bytes_reused,
                ms=round(pulled.seconds * 1000, 2),
            )
            self._apply(
                self._logic.on_pulled(
                    version, str(path), pulled.bytes_pulled, pulled.seconds, time.time(),
                    bytes_from_peers=pulled.bytes_from_peers,
                )
            )  # fmt: skip

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._settings.heartbeat_s)
            self._apply(self._logic.on_tick(time.time()))
            if self._reports is not None:
                self._reports.poll()
            self._count_workers()

    async def _keep_time(self) -> None:
        """Let the next worker stage when one takes too long, and write reports that have waited for others."""
        while True:
            due = min(self._turns.next_end, self._outbox.due)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._turned.wait(), due - time.time() if due < float("inf") else None)
            self._turned.clear()
            self._send(self._turns.on_tick(time.time()))
            self._write(self._outbox.on_tick(time.time()))

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

    def _on_message(self, connection: int, message: ToAgent) -> None:
        effects = self._logic.on_message(connection, message, time.time())
        self._send(self._turns.on_message(connection, message, time.time()))
        self._apply(effects)

    def _on_gone(self, connection: int) -> None:
        effects = self._logic.on_gone(connection, time.time())
        self._send(self._turns.on_gone(connection, time.time()))
        self._apply(effects)
        self._count_workers()

    def _apply(self, effects: Iterable[Effect]) -> None:
        """Workers first, then whom reports are for, and then people: somebody waits for each, but not for a line of log."""
        reports = []
        for effect in effects:
            if isinstance(effect, Send):
                self._send(self._turns.pass_on(effect, time.time()))
            else:
                reports.append(effect.applied)
        more = any(self._logic.more_to_come(applied) for applied in reports)
        self._write(self._outbox.put(reports, time.time(), more=more))
        self._work.set()
        self._turned.set()

    def _write(self, reports: list[WeightsApplied]) -> None:
        if not reports:
            return
        for applied in reports:
            applied.bytes_to_peers = self._shelf.served(applied.model)
        if self._reports is not None:
            self._reports.send(reports)
        for applied in reports:
            self._observe(applied)
        for (state, model, version, error), same in groupby(reports, _as_told):
            if state != WeightsApplied.HEARTBEAT:
                log.info(
                    "workers", state=WeightsApplied.State.Name(state), model=model, version=version,
                    workers=[applied.worker for applied in same], **({"error": error} if error else {}),
                )  # fmt: skip

    def _send(self, sends: Iterable[Send]) -> None:
        for send in sends:
            self._socket.send(send.connection, send.message)

    def _observe(self, applied: WeightsApplied) -> None:
        state = WeightsApplied.State.Name(applied.state)
        metrics.REPORTS.labels(applied.model, state).inc()
        if applied.state == WeightsApplied.STAGED and "stage" in applied.seconds:
            metrics.STAGE.labels(applied.model).observe(applied.seconds["stage"])
        if applied.state == WeightsApplied.ACTIVE and "activate" in applied.seconds:
            metrics.ACTIVATE.labels(applied.model).observe(applied.seconds["activate"])

    def _count_workers(self) -> None:
        for model in self._logic.models:
            workers = [worker for worker in self._logic.workers.values() if worker.hello.model == model]
            metrics.WORKERS.labels(model).set(len(workers))
            metrics.FENCED.labels(model).set(sum(bool(worker.required) for worker in workers))


def _as_told(applied: WeightsApplied) -> tuple["WeightsApplied.State.ValueType", str, int, str]:
    return applied.state, applied.model, applied.version, applied.error
