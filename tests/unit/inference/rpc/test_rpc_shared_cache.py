"""Answers that several processes keep together: never a wrong one, whoever writes, dies or swaps."""

import asyncio
import hashlib
import multiprocessing
import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.weights.worker.source import StaticWeights
from services.inference.rpc.cache.shared import LEAST, SharedResponses, SharedTable
from services.inference.rpc.service import DataPlane
from tests.patience import WAIT_S, wait_for
from tests.unit.inference.rpc.test_rpc_batching import Net, Parts, plain, request


@pytest.fixture
def memory() -> Iterator[Path]:
    made = os.memfd_create("test")
    os.ftruncate(made, LEAST)
    yield Path(f"/proc/{os.getpid()}/fd/{made}")
    os.close(made)


def key(number: int) -> bytes:
    return hashlib.blake2b(b"%d" % number, digest_size=32).digest()


def value(number: int, size: int) -> bytes:
    return struct.pack("<I", number) * (size // 4 + 1)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 9000)), max_size=60))
def test_what_is_found_is_what_was_kept_last_and_what_was_kept_last_is_found(kept: list[tuple[int, int]]) -> None:
    fd = os.memfd_create("test")
    os.ftruncate(fd, LEAST)
    table = SharedTable(Path(f"/proc/self/fd/{fd}"))
    last: dict[int, bytes] = {}
    for number, size in kept:
        assert table.keep(key(number), value(number, size))
        last[number] = value(number, size)
        assert table.find(key(number)) == last[number]
    for number in range(301):
        assert table.find(key(number)) in (None, last.get(number))
    table.close()
    os.close(fd)


def test_what_is_too_large_is_not_kept_and_takes_no_others_place(memory: Path) -> None:
    table = SharedTable(memory)
    assert table.keep(key(1), b"one")
    assert not table.keep(key(2), b"x" * LEAST)
    assert table.find(key(1)) == b"one"
    assert table.find(key(2)) is None
    table.close()


def test_while_another_writes_nothing_is_kept(memory: Path) -> None:
    import fcntl

    table = SharedTable(memory)
    other = os.open(memory, os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    assert not table.keep(key(1), b"one")
    os.close(other)
    assert table.keep(key(1), b"one")
    table.close()


def _hammer(memory: Path, seed: int, wrong: "multiprocessing.sharedctypes.Synchronized[int]", rounds: int) -> None:
    table = SharedTable(memory)
    for n in range(rounds):
        number = (n * 7 + seed) % 97
        found = table.find(key(number))
        if found is not None and found != value(number, len(found) - 4):
            wrong.value += 1
        table.keep(key(number), value(number, (n % 50) * 40))


def test_processes_that_read_and_write_at_once_never_see_a_wrong_value_and_one_may_die(memory: Path) -> None:
    several = multiprocessing.get_context("fork")
    wrong = several.Value("i", 0)
    endless = several.Process(target=_hammer, args=(memory, 5, wrong, 1 << 40))
    others = [several.Process(target=_hammer, args=(memory, seed, wrong, 3000)) for seed in (1, 2)]
    for process in (endless, *others):
        process.start()
    wait_for(lambda: SharedTable(memory).find(key(5)) is not None or not endless.is_alive())
    assert endless.pid is not None
    os.kill(endless.pid, signal.SIGKILL)
    for process in (endless, *others):
        process.join(WAIT_S)

    assert [process.exitcode for process in others] == [0, 0]
    assert wrong.value == 0
    table = SharedTable(memory)
    assert table.keep(key(1000), b"after")
    assert table.find(key(1000)) == b"after"


class Workers:
    """Two planes with a table in common, as two processes have."""

    def __init__(self, memory: Path) -> None:
        self.models = [Parts(), Parts()]
        first = Net()
        self.weights = [StaticWeights(first, model="parts") for _ in self.models]
        self.planes = [
            DataPlane("parts", model, weights, cache=SharedResponses(SharedTable(memory), "parts"))
            for model, weights in zip(self.models, self.weights, strict=True)
        ]


async def test_what_one_worker_has_answered_the_other_answers_without_an_execution(memory: Path) -> None:
    world = Workers(memory)
    wanted = [request([1.0, 2.0], note="ünï", width=3), request([1.0]), request([2.0])]
    first = await asyncio.gather(*(world.planes[0].infer(one) for one in wanted))
    second = await asyncio.gather(*(world.planes[1].infer(one) for one in wanted))

    assert [plain_bytes(one) for one in first] == [plain_bytes(one) for one in second]
    assert world.models[1].sizes == []
    assert world.planes[1].statistics.cache_hit.count == 3
    assert world.planes[0].statistics.cache_miss.count == 3


def plain_bytes(answer: object) -> list[tuple[object, ...]]:
    return [(name, datatype, shape, raw) for name, datatype, shape, _, raw in plain(answer)]


async def test_an_answer_is_its_versions_whatever_each_worker_serves(memory: Path) -> None:
    world = Workers(memory)
    one, two = Net(), Net()
    for weights in world.weights:
        weights.swap(one, 2)
    before = await world.planes[0].infer(request([1.0]))
    world.weights[1].swap(two, 3)
    after = await world.planes[1].infer(request([1.0]))
    again = await world.planes[0].infer(request([1.0]))

    assert (before.version, after.version, again.version) == (2, 3, 2)
    assert plain_bytes(again) == plain_bytes(before) != plain_bytes(after)
    world.weights[1].swap(one, 2)
    assert plain_bytes(await world.planes[1].infer(request([1.0]))) == plain_bytes(before)
    assert world.models[1].sizes == [1]


async def test_models_of_one_table_do_not_mix(memory: Path) -> None:
    table, network = SharedTable(memory), Net()
    planes = [
        DataPlane(name, Parts(), StaticWeights(network, model="parts"), cache=SharedResponses(table, name))
        for name in ("parts", "parts2")
    ]
    answers = [await plane.infer(request([1.0])) for plane in planes]

    assert [answer.model for answer in answers] == ["parts", "parts2"]
    assert [plane.statistics.cache_hit.count for plane in planes] == [0, 0]
