"""The response cache: the same bytes as without it, never those of another version, and bounded."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from prometheus_client import CollectorRegistry

from headrace.weights.worker.source import StaticWeights
from services.inference.oip.messages import InferRequest, OipError
from services.inference.oip.shared_memory import Regions
from services.inference.rpc.batching.batcher import BatchLimits
from services.inference.rpc.cache.responses import ResponseCache
from services.inference.rpc.metrics import ProtocolCollector
from services.inference.rpc.service import DataPlane
from tests.unit.inference.rpc.test_rpc_batching import REQUESTS, Net, Parts, outcomes, plain, request


class Cached:
    """A data plane with a cache."""

    def __init__(self, most: int = 1 << 20) -> None:
        torch.manual_seed(3)
        self.model, self.cache = Parts(), ResponseCache(most)
        self.weights = StaticWeights(Net(), model="parts")
        self.plane = DataPlane("parts", self.model, self.weights, BatchLimits(), max_batch=64, cache=self.cache)

    @property
    def counts(self) -> tuple[int, int]:
        statistics = self.plane.statistics
        return statistics.cache_hit.count, statistics.cache_miss.count


async def test_a_request_seen_before_is_answered_without_an_execution_under_its_own_id() -> None:
    world = Cached()
    first = await world.plane.infer(request([1.0, 2.0], id="a"))
    second = await world.plane.infer(request([1.0, 2.0], id="b"))

    assert plain(first) == plain(second)
    assert (first.id, second.id, first.checkpoint) == ("a", "b", second.checkpoint)
    assert world.model.sizes == [2]
    assert world.counts == (1, 1)
    told = world.plane.model_statistics()[0]
    assert (told["inference_count"], told["execution_count"], told["inference_stats"]["success"]["count"]) == (2, 1, 2)
    assert told["inference_stats"]["cache_hit"]["count"] == told["inference_stats"]["cache_miss"]["count"] == 1
    world.plane.close()


@pytest.mark.parametrize(
    "other",
    [
        request([1.0, 2.5]),
        request([1.0]),
        request([1.0, 2.0], note=""),
        request([1.0, 2.0], width=1),
        request([1.0, 2.0], outputs=["score"]),
        request([-0.0, 2.0]),
    ],
)
async def test_any_other_request_is_executed(other: InferRequest) -> None:
    world, without = Cached(), Cached()
    for one in (request([1.0, 2.0]), request([0.0, 2.0])):
        await world.plane.infer(one)
    assert plain(await world.plane.infer(other)) == plain(await without.plane.infer(other))
    assert world.counts == (0, 3)
    for plane in (world.plane, without.plane):
        plane.close()


async def test_a_swap_makes_every_answer_another_one_and_empties_the_cache() -> None:
    world = Cached()
    for x in (1.0, 2.0, 3.0):
        await world.plane.infer(request([x]))
    old = await world.plane.infer(request([1.0], version="1"))
    world.weights.swap(Net(), 2)
    new = await world.plane.infer(request([1.0]))

    assert (old.version, new.version) == (1, 2)
    assert plain(old) != plain(new)
    assert len(world.cache) == 1
    assert world.counts == (1, 4)
    assert plain(await world.plane.infer(request([1.0], version="1"))) == plain(old)
    assert plain(await world.plane.infer(request([1.0]))) == plain(new)
    world.plane.close()


async def test_an_answer_that_a_swap_overtook_is_not_kept() -> None:
    world = Cached()
    old = await world.plane.infer(request([1.0]))
    world.weights.swap(Net(), 2)
    await world.plane.infer(request([2.0]))
    world.cache.keep(b"late", old)
    assert len(world.cache) == 1
    world.plane.close()


async def test_the_cache_is_bounded_and_forgets_what_was_used_longest_ago() -> None:
    world = Cached(4000)
    await world.plane.infer(request([0.0]))
    for i in range(1, 100):
        await world.plane.infer(request([float(i)]))
        await world.plane.infer(request([0.0]))  # used again and again
        assert 0 < world.cache.size <= 4000
    assert 1 < len(world.cache) < 10
    assert world.counts == (99, 100)
    await world.plane.infer(request([1.0]))
    assert world.counts == (99, 101)
    large = Cached(100)
    await large.plane.infer(request([0.0]))
    assert (len(large.cache), large.cache.size) == (0, 0)
    for plane in (world.plane, large.plane):
        plane.close()


async def test_errors_are_not_kept() -> None:
    world = Cached()
    for _ in range(2):
        with pytest.raises(OipError, match="this note explodes"):
            await world.plane.infer(request([1.0], note="explode"))
    assert len(world.cache) == 0
    world.plane.close()


async def test_a_caller_that_is_gone_before_a_hit_is_not_answered() -> None:
    world, got = Cached(), []
    await world.plane.infer(request([1.0]))
    job = world.plane.submit(request([1.0]), got.append)
    world.plane.cancel(job)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert got == []
    assert (world.plane.statistics.success.count, world.plane.statistics.fail.count) == (1, 1)
    world.plane.close()


async def test_a_hit_is_written_to_shared_memory(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(bytes(16))
    regions = Regions(1, root=tmp_path)
    regions.register("r", "out", 0, 16)
    world = Cached()
    first = await world.plane.infer(request([1.0], outputs=["score"]))
    place = regions.place(
        "output", {"shared_memory_region": "r", "shared_memory_byte_size": 8, "shared_memory_offset": 8}
    )
    assert place is not None
    await world.plane.infer(request([1.0], outputs=["score"], places={"score": place}))
    assert (tmp_path / "out").read_bytes() == bytes(8) + first.outputs[0].raw()
    again = await world.plane.infer(request([1.0], outputs=["score"]))
    assert plain(again) == plain(first)
    assert world.counts == (2, 1)
    world.plane.close()


async def test_the_protocols_metrics_count_hits_and_misses() -> None:
    world, registry = Cached(), CollectorRegistry()
    ProtocolCollector(lambda: [("parts", world.plane.statistics)], registry)
    for x in (1.0, 1.0, 1.0, 2.0):
        await world.plane.infer(request([x]))
    sample: Any = registry.get_sample_value
    assert sample("nv_cache_num_hits_per_model", {"model": "parts"}) == 2
    assert sample("nv_cache_num_misses_per_model", {"model": "parts"}) == 2
    assert sample("nv_cache_miss_duration_per_model", {"model": "parts"}) is not None
    world.plane.close()


@settings(max_examples=40)
@given(requests=REQUESTS.flatmap(lambda one: REQUESTS.map(lambda other: [one, other, one, other, one])))
def test_answers_are_the_same_bytes_with_and_without_the_cache(requests: list[InferRequest]) -> None:
    async def run() -> None:
        world, without = Cached(), Cached(0)
        with_cache = [plain((await outcomes(world.plane, [r]))[0]) for r in requests]
        assert with_cache == [plain((await outcomes(without.plane, [r]))[0]) for r in requests]
        world.plane.close()
        without.plane.close()

    asyncio.run(run())
