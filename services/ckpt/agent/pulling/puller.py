"""Pulling what this host's workers need, one version at a time, in a thread of its own."""

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from headrace.runtime.logging import get_logger
from headrace.weights import Manifest
from headrace.weights.errors import LOST, SlotsBusy, Superseded, WeightsError
from headrace.weights.host.transfer import Pulled
from services.ckpt.agent import metrics
from services.ckpt.agent.pulling.peers import Peers
from services.ckpt.agent.pulling.slots import HostSlots
from services.ckpt.agent.service import HostAgent
from services.ckpt.agent.state import Effect
from services.ckpt.agent.versions import Version

log = get_logger("headrace.ckpt")

BUSY_RETRY_S = 0.05


class Puller:
    """Asks the logic what to pull, puts it into a slot, and tells the logic.

    Args:
        logic: says what to pull, and what came of it is told to it.
        slots: where versions are put.
        peers: the agents from which chunks may be taken; None takes all from the stores.
        apply: carries out what the logic answers.
    """

    def __init__(
        self,
        logic: HostAgent,
        slots: HostSlots,
        peers: Peers | None,
        apply: Callable[[Iterable[Effect]], None],
    ) -> None:
        self._logic = logic
        self._slots = slots
        self._peers = peers
        self._apply = apply
        self._thread = ThreadPoolExecutor(1, "puller")
        self._work = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Something happened that may have made another version wanted."""
        self._work.set()

    async def run(self) -> None:
        """Pull for ever, always the version that is wanted most at that time."""
        while True:
            version = self._logic.next_pull(time.time())
            if version is None or version.manifest is None:
                await self._work.wait()
                self._work.clear()
            else:
                await self._pull(version, version.manifest)

    def cancel(self) -> None:
        """Give up the pull under way."""
        self._stopping = True

    async def close(self) -> None:
        """Wait until nothing is written to a slot any more, and remove the slots."""
        await asyncio.to_thread(self._thread.shutdown)
        self._slots.close()

    async def _pull(self, version: Version, manifest: Manifest) -> None:
        keep = self._logic.keeps(version.model)
        routes = self._peers.routes(version.peers) if self._peers is not None else None

        def cancelled() -> bool:
            return self._stopping or not self._logic.wants(version)

        slots = self._logic.slots(version.model)
        fill = partial(self._slots.fill, manifest, keep, cancelled, routes, slots)
        try:
            path, pulled = await asyncio.get_running_loop().run_in_executor(self._thread, fill)
        except Superseded:
            log.info("pull given up for a newer version", model=version.model, version=version.version)
        except SlotsBusy:
            await asyncio.sleep(BUSY_RETRY_S)  # there is no event for the release of a file lock
        except WeightsError as error:
            metrics.PULL_FAILURES.labels(version.model).inc()
            log.warning("pull failed", model=version.model, version=version.version, error=str(error))
            lost = isinstance(error, LOST)
            self._apply(self._logic.on_pull_failed(version, str(error), time.time(), lost=lost))
        else:
            _observe(version, pulled)
            effects = self._logic.on_pulled(
                version, str(path), pulled.bytes_pulled, pulled.seconds, time.time(),
                bytes_from_peers=pulled.bytes_from_peers,
            )  # fmt: skip
            self._apply(effects)


def _observe(version: Version, pulled: Pulled) -> None:
    metrics.observe_pull(version.model, pulled)
    log.info(
        "pulled and verified",
        model=version.model,
        version=version.version,
        bytes=pulled.bytes_pulled,
        from_peers=pulled.bytes_from_peers,
        reused=pulled.bytes_reused,
        ms=round(pulled.seconds * 1000, 2),
    )
