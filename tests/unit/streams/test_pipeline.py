"""The pipeline: in order, once, and never across generations."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Self

import pytest

from headrace.runtime.errors import DataError, DependencyError, FencedError, HeadraceError
from headrace.streams.chunks import Chunk, Partition
from headrace.streams.delivery import AbortedError, Output
from headrace.streams.membership import Member, Membership
from headrace.streams.memory import memory_chunk
from headrace.streams.pipeline import MOST_ABORTS, ChunkPipeline
from tests.patience import WAIT_S


class MemorySink:
    """Keeps what was delivered; `gate` holds deliveries up, `failures` are raised first, in order."""

    commits_offsets = True

    def __init__(self) -> None:
        self.delivered: list[Output] = []
        self.failures: list[Exception] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.opened = self.closed = False

    def open(self) -> None:
        self.opened = True

    def deliver(self, output: Output, member: Member) -> None:
        self.entered.set()
        self.gate.wait(WAIT_S)
        if self.failures:
            raise self.failures.pop(0)
        self.delivered.append(output)

    def close(self) -> None:
        self.closed = True


class MemoryHost:
    """Begins a new generation when told to rewind."""

    def __init__(self, membership: Membership) -> None:
        self.membership = membership
        self.errors: list[HeadraceError] = []
        self.committed: list[Output] = []
        self.rewound = asyncio.Event()

    def fail(self, error: HeadraceError) -> None:
        self.errors.append(error)

    async def rewind(self) -> None:
        self.membership.advance(None)
        self.rewound.set()

    async def commit_offsets(self, output: Output) -> None:
        self.committed.append(output)


class World:
    def __init__(self, process: Callable[..., Output] = Output.of, **options) -> None:
        self.membership = Membership()
        self.membership.advance(None)
        self.sink = MemorySink()
        self.host = MemoryHost(self.membership)
        self.seen: list[Output] = []
        self.changed = asyncio.Event()
        self.pipeline = ChunkPipeline(process, self.sink, self.membership, delivered=self.seen.append, **options)
        self.pipeline.bind(self.changed.set)

    async def __aenter__(self) -> Self:
        await self.pipeline.start(self.host)
        return self

    async def __aexit__(self, *_) -> None:
        self.sink.gate.set()
        await self.pipeline.close()

    def round(self, *chunks: Chunk) -> None:
        self.pipeline.issued()
        for chunk in chunks:
            self.pipeline.submit(replace(chunk, round_size=len(chunks)))

    def chunk(self, first: int, count: int = 3, partition: int = 0) -> Chunk:
        return memory_chunk(
            [b"x"] * count, partition=partition, first_offset=first, generation=self.membership.generation
        )

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


def ends(outputs: list[Output]) -> list[dict[Partition, int]]:
    return [dict(output.offsets) for output in outputs]


async def test_a_round_of_several_partitions_is_one_delivery():
    async with World() as world:
        world.round(world.chunk(0), world.chunk(10, partition=1))
        await world.until(lambda: world.seen)
        assert ends(world.sink.delivered) == [{Partition("events", 0): 3, Partition("events", 1): 13}]
        assert world.seen[0].records == 6
        assert world.seen[0].chunks == 2


async def test_a_round_waits_for_all_its_chunks():
    async with World() as world:
        world.pipeline.issued()
        world.pipeline.submit(replace(world.chunk(0), round_size=2))
        assert not world.pipeline.open(100_000)
        await asyncio.sleep(0)
        assert world.pipeline.idle
        world.pipeline.submit(replace(world.chunk(10, partition=1), round_size=2))
        await world.until(lambda: world.seen)
        assert len(world.sink.delivered) == 1


async def test_with_little_traffic_a_round_waits_for_the_commit_and_with_a_backlog_it_does_not():
    async with World(overlap_records=100) as world:
        world.sink.gate.clear()
        assert world.pipeline.open(1)
        world.round(world.chunk(0))
        await asyncio.to_thread(world.sink.entered.wait, 5)
        assert not world.pipeline.open(99)
        assert world.pipeline.open(100)
        world.sink.gate.set()
        await world.until(lambda: world.pipeline.idle)
        assert world.pipeline.open(1)
        assert not world.pipeline.open(0)


async def test_the_next_round_is_processed_while_the_last_one_commits_and_delivered_after_it():
    second = threading.Event()

    def process(chunks):
        if chunks[0].first_offset == 3:
            second.set()
        return Output.of(chunks)

    async with World(process) as world:
        world.sink.gate.clear()
        world.round(world.chunk(0))
        await asyncio.to_thread(world.sink.entered.wait, 5)
        world.round(world.chunk(3))
        assert await asyncio.to_thread(second.wait, 5)
        assert world.sink.delivered == []
        world.sink.gate.set()
        await world.until(lambda: len(world.seen) == 2)
        assert [o[Partition("events", 0)] for o in ends(world.sink.delivered)] == [3, 6]


async def test_nothing_is_wanted_while_not_ready():
    ready = False
    async with World(ready=lambda: ready) as world:
        assert not world.pipeline.open(1000)
        ready = True
        assert world.pipeline.open(1000)


async def test_chunks_of_an_earlier_generation_are_ignored():
    async with World() as world:
        old = world.chunk(0)
        world.membership.advance(None)
        world.pipeline.begin(world.membership.generation)
        world.pipeline.submit(old)
        world.round(world.chunk(0))
        await world.until(lambda: world.seen)
        assert len(world.sink.delivered) == 1
        assert world.sink.delivered[0].generation == world.membership.generation


async def test_what_was_processed_for_an_earlier_generation_is_not_delivered():
    release = threading.Event()

    def process(chunks):
        release.wait(WAIT_S)
        return Output.of(chunks)

    async with World(process) as world:
        world.round(world.chunk(0))
        await asyncio.sleep(0)
        world.membership.advance(None)
        release.set()
        await world.until(lambda: world.pipeline.idle)
        assert world.sink.delivered == []


async def test_quiesce_finishes_what_was_started_and_forgets_the_rest():
    async with World() as world:
        world.sink.gate.clear()
        world.round(world.chunk(0))
        await asyncio.to_thread(world.sink.entered.wait, 5)
        world.pipeline.issued()
        world.pipeline.submit(replace(world.chunk(3), round_size=2))
        quiet = asyncio.create_task(world.pipeline.quiesce())
        await asyncio.sleep(0)
        assert not quiet.done()
        world.sink.gate.set()
        await asyncio.wait_for(quiet, WAIT_S)
        assert ends(world.sink.delivered) == [{Partition("events", 0): 3}]
        assert world.pipeline.idle


async def test_after_an_abort_everything_starts_again_at_the_committed_offsets():
    async with World() as world:
        world.sink.failures.append(AbortedError("ILLEGAL_GENERATION"))
        world.sink.gate.clear()
        world.round(world.chunk(0))
        await asyncio.to_thread(world.sink.entered.wait, 5)
        world.round(world.chunk(3))  # of the same generation: must not be delivered after the one that was aborted
        world.sink.gate.set()
        await asyncio.wait_for(world.host.rewound.wait(), WAIT_S)
        await world.until(lambda: world.pipeline.idle)
        assert world.sink.delivered == []
        world.pipeline.begin(world.membership.generation)
        world.round(world.chunk(0))
        await world.until(lambda: world.seen)
        assert ends(world.sink.delivered) == [{Partition("events", 0): 3}]


async def test_aborts_without_end_end_the_process():
    async with World() as world:
        world.pipeline._aborts = MOST_ABORTS
        world.sink.failures.append(AbortedError("TIMED_OUT"))
        world.round(world.chunk(0))
        await world.until(lambda: world.host.errors)
        assert world.host.errors[0].exit_code == 3


@pytest.mark.parametrize(("error", "code"), [(FencedError("newer"), 4), (DataError("poisoned"), 5)])
async def test_what_does_not_heal_ends_the_process(error, code):
    async with World() as world:
        world.sink.failures.append(error)
        world.round(world.chunk(0))
        await world.until(lambda: world.host.errors)
        assert world.host.errors == [error]
        assert error.exit_code == code


async def test_after_a_failure_that_nobody_foresaw_nothing_behind_it_is_delivered():
    async with World() as world:
        world.sink.failures.append(BufferError("queue full"))
        world.sink.gate.clear()
        world.round(world.chunk(0))
        await asyncio.to_thread(world.sink.entered.wait, 5)
        world.round(world.chunk(3))
        world.sink.gate.set()
        await world.until(lambda: world.host.errors and world.pipeline.idle)
        assert world.sink.delivered == []
        assert world.host.errors[0].exit_code == 70
        assert "queue full" in str(world.host.errors[0])


async def test_a_processor_that_raises_ends_the_process_and_nothing_is_delivered():
    def process(chunks):
        raise DataError("everything is poisoned")

    async with World(process) as world:
        world.round(world.chunk(0))
        await world.until(lambda: world.host.errors)
        assert world.sink.delivered == []
        await asyncio.wait_for(world.pipeline.quiesce(), WAIT_S)


async def test_a_sink_that_leaves_offsets_to_the_consumer_has_them_committed_after_delivery():
    async with World() as world:
        world.sink.commits_offsets = False
        world.round(world.chunk(0))
        await world.until(lambda: world.seen)
        assert world.host.committed == world.sink.delivered


async def test_a_delivery_that_hangs_ends_the_process(monkeypatch):
    monkeypatch.setattr("headrace.streams.pipeline.DELIVER_S", 0.01)
    async with World() as world:
        world.sink.gate.clear()
        world.round(world.chunk(0))
        await world.until(lambda: world.host.errors)
        assert world.host.errors[0].exit_code == 3
        await asyncio.wait_for(world.pipeline.quiesce(), WAIT_S)


async def test_a_delivery_that_is_given_up_ends_the_process_at_once_and_nothing_is_delivered_behind_it():
    processed = []

    def process(chunks):
        processed.append(chunks)
        return Output.of(chunks)

    async with World(process) as world:
        world.sink.gate.clear()
        world.round(world.chunk(0))
        await asyncio.to_thread(world.sink.entered.wait, 5)
        lost = DependencyError("no broker is left")
        await asyncio.to_thread(world.pipeline.give_up, lost)
        await world.pipeline.quiesce()
        assert world.host.errors == [lost]
        assert not world.sink.gate.is_set()
        world.sink.gate.set()
        world.round(world.chunk(3))
        await world.until(lambda: len(processed) == 2 and world.pipeline.idle)
        assert world.seen == []
        assert len(world.sink.delivered) <= 1, "only the call that was under way may have come to its end"


async def test_the_sink_is_opened_first_and_closed_last():
    async with World() as world:
        assert world.sink.opened
    assert world.sink.closed
