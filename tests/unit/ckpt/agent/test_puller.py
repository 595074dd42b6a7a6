"""What is pulled, in which order, and what the logic is told of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace.contracts.events_pb2 import WeightsApplied
from headrace.weights import Manifest
from headrace.weights.errors import ChunkMissing, Superseded
from headrace.weights.host.transfer import Pulled
from services.ckpt.agent.pulling.puller import Puller
from services.ckpt.agent.state import Effect, Report
from tests.host_kit import V1, V2, Host


class Slots:
    """Fills by a function, and says which versions it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.closed = False
        self.fill_by: Callable[[Manifest, Callable[[], bool]], None] = lambda *_: None

    def fill(
        self, manifest: Manifest, keep: set[str], cancelled: Callable[[], bool], routes: Any, slots: int
    ) -> tuple[Path, Pulled]:
        self.asked.append(manifest.version)
        self.fill_by(manifest, cancelled)
        return Path(f"/slot/{manifest.version}"), Pulled(manifest.size, 0, 0.1)

    def close(self) -> None:
        self.closed = True


class Pulling:
    """A host with one worker, and a puller."""

    def __init__(self) -> None:
        self.host = Host()
        self.slots = Slots()
        self.effects: list[Effect] = []
        self.applied = asyncio.Event()
        self.puller = Puller(self.host.agent, self.slots, None, self._apply)
        self.host.hello(1, "a")

    def _apply(self, effects: Any) -> None:
        self.effects += effects
        self.applied.set()

    def direct(self, action: str, of: Manifest) -> None:
        self.host.direct(action, of)
        self.puller.wake()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        running = asyncio.ensure_future(self.puller.run())
        yield
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    def fill_until_cancelled(self, version: int) -> asyncio.Event:
        """Let the pull of a version go on until it is cancelled; the event says that it has begun."""
        loop, begun = asyncio.get_running_loop(), asyncio.Event()

        def fill(manifest: Manifest, cancelled: Callable[[], bool]) -> None:
            if manifest.version != version:
                return
            loop.call_soon_threadsafe(begun.set)
            while not cancelled():
                pass
            raise Superseded("given up")

        self.slots.fill_by = fill
        return begun


@pytest.fixture
async def pulling() -> AsyncIterator[Pulling]:
    made = Pulling()
    yield made
    await made.puller.close()
    assert made.slots.closed


async def test_a_version_is_pulled_when_a_directive_makes_it_wanted(pulling: Pulling) -> None:
    async with pulling.running():
        pulling.direct("STAGE", V1)
        await pulling.applied.wait()
    assert pulling.slots.asked == [1]
    assert pulling.host.told(pulling.effects) == [(1, "Stage", 1)]


async def test_a_pull_is_given_up_for_a_newer_version(pulling: Pulling) -> None:
    """The one under way is asked between chunks whether it should go on."""
    begun = pulling.fill_until_cancelled(1)
    async with pulling.running():
        pulling.direct("STAGE", V1)
        await begun.wait()
        pulling.direct("STAGE", V2)
        await pulling.applied.wait()
    assert pulling.slots.asked == [1, 2]
    assert pulling.host.told(pulling.effects) == [(1, "Stage", 2)]


async def test_a_pull_that_fails_is_reported_with_what_the_stores_lost(pulling: Pulling) -> None:
    def fill(*_: object) -> None:
        raise ChunkMissing("chunk x is missing")

    pulling.slots.fill_by = fill
    async with pulling.running():
        pulling.direct("STAGE", V1)
        await pulling.applied.wait()
    (report,) = pulling.effects
    assert isinstance(report, Report)
    applied = report.applied
    assert (applied.state, applied.error, applied.chunks_lost) == (WeightsApplied.FAILED, "chunk x is missing", True)


async def test_at_the_end_the_pull_under_way_is_cancelled(pulling: Pulling) -> None:
    begun = pulling.fill_until_cancelled(1)
    async with pulling.running():
        pulling.direct("STAGE", V1)
        await begun.wait()
    pulling.puller.cancel()
    await pulling.puller.close()
    assert pulling.effects == []
