"""The role `coordinator`, composed: Kafka, the rollouts of the partitions owned, and the sweeper of chunk stores."""

import asyncio

from headrace.contracts.topics import system_topics
from headrace.rollouts.feed import POLL_S
from headrace.runtime import kafka
from headrace.runtime.lifecycle import Context, Stop
from headrace.runtime.scheduling import lower_priority
from headrace.weights import open_store
from services.ckpt.coordinator.kafka import CoordinatorLog, Owned
from services.ckpt.coordinator.partitions import OwnedPartitions
from services.ckpt.coordinator.plan import PeerPlanner
from services.ckpt.coordinator.settings import CoordinatorSettings
from services.ckpt.coordinator.sweeper import Sweeper

BACKLOG = 10_000
"""Records read at most before decisions are made."""


class CoordinatorApp:
    """Decides for the models of the partitions that the group gives this process.

    One thread reads, decides and writes; another one sweeps.
    """

    def __init__(self, context: Context[CoordinatorSettings]) -> None:
        self._settings = settings = context.settings
        lower_priority(settings.nice)  # before any thread is started
        self._ready = context.ready
        self._ready.declare("group")
        self._store = open_store(settings)
        self._partitions = OwnedPartitions(settings.policy, PeerPlanner(settings.peer_policy))
        self._log = CoordinatorLog(settings, self._on_taken, self._partitions.on_lost)
        self._sweeper = Sweeper(
            self._store, self._partitions.rollouts, every_s=settings.sweep_every_s, grace_s=settings.sweep_grace_s
        )

    async def run(self, stop: Stop) -> None:
        """Coordinate until stopped."""
        await asyncio.to_thread(kafka.ensure_topics, self._settings, system_topics())
        work = asyncio.ensure_future(asyncio.to_thread(self._coordinate, stop))
        sweep = asyncio.ensure_future(asyncio.to_thread(self._sweeper.run, stop))
        try:
            await work
        finally:
            stop.set("the coordinator ends")
            await sweep
            self._store.close()

    def _coordinate(self, stop: Stop) -> None:
        self._log.open()
        try:
            while not stop.is_set():
                self._read()
                self._partitions.decide(self._log)
        finally:
            self._log.close()

    def _read(self) -> None:
        """Take what is there, without waiting for more: decisions are made on everything known."""
        wait = POLL_S
        for _ in range(BACKLOG):
            taken = self._log.poll(wait)
            if taken is None:
                return
            self._partitions.on_event(*taken)
            wait = 0.0

    def _on_taken(self, owned: Owned) -> None:
        self._partitions.on_taken(owned)
        self._ready.set("group", ok=True, detail=f"{len(self._partitions)} partitions")
