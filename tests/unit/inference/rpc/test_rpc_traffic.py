"""Canaries and shadows on requests: who answers, what a failing one costs, and that every request has one answer."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.inference.oip.messages import InferAnswer, InferRequest, InvalidRequest, NotFound, Unavailable
from services.inference.routing import SPAN, place
from services.inference.rpc.batching.batcher import BatchLimits
from services.inference.rpc.models.registry import Registry
from services.inference.rpc.models.traffic import Traffic
from services.inference.rpc.service import DataPlane
from tests.patience import WAIT_S, eventually
from tests.unit.inference.rpc.test_rpc_plane import Counted, Scale, Scaled, request

KEYS = [f"k{i}" for i in range(40)]
CANARYS = [key for key in KEYS if place(key) < SPAN // 2]
OTHERS = [key for key in KEYS if key not in CANARYS]


def of(key: str, *xs: float, **changes: Any) -> InferRequest:
    made = request(*xs, model="p", **changes)
    made.inputs[0].values = [key, *(["other"] * (len(xs) - 1))]
    return made


class World:
    """A champion that doubles, a canary with half of the keys that triples, and a shadow."""

    def __init__(self) -> None:
        self.models = {name: Scaled() for name in ("p", "p.c", "p.s")}
        self.weights = {
            name: Counted(Scale(factor), model=name) for name, factor in (("p", 2.0), ("p.c", 3.0), ("p.s", 4.0))
        }
        limits = BatchLimits(on_loop_us=0, max_waiting=8, overdue_s=0.2)
        self.p, self.c, self.s = (
            DataPlane(name, self.models[name], self.weights[name], limits, required=name == "p") for name in self.models
        )
        self.traffic = Traffic(self.p, [(self.c, (0.0, 0.5))], [self.s])
        self.registry = Registry([self.traffic, self.c, self.s])

    async def answer(self, key: str, *xs: float, **changes: Any) -> InferAnswer:
        return await self.registry.infer(of(key, *(xs or (1.0,)), **changes))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    for model in made.registry:
        await model.stop()


async def test_a_canary_answers_its_keys_and_the_answer_says_so(world: World) -> None:
    answers = {key: await world.answer(key) for key in KEYS}
    assert {key for key, one in answers.items() if one.model == "p.c"} == set(CANARYS)
    assert all(one.outputs[0].values == ([3.0] if one.model == "p.c" else [2.0]) for one in answers.values())
    assert (world.p.statistics.success.count, world.c.statistics.success.count) == (len(OTHERS), len(CANARYS))
    many = await world.answer(CANARYS[0], 1.0, 2.0, id="7")
    assert (many.model, many.id, many.outputs[0].values) == ("p.c", "7", [3.0, 6.0])


async def test_a_request_that_names_a_version_or_a_canary_is_not_routed(world: World) -> None:
    assert (await world.answer(CANARYS[0], version="1")).model == "p"
    assert (await world.registry.infer(request(1.0, model="p.c"))).outputs[0].values == [3.0]
    with pytest.raises(NotFound, match="version 9"):
        await world.answer(CANARYS[0], version="9")


async def test_what_a_canary_cannot_answer_the_champion_answers(world: World) -> None:
    def fail() -> None:
        raise KeyError("zone")

    world.models["p.c"].before_features = fail
    assert (await world.answer(CANARYS[0])).model == "p"
    world.models["p.c"].before_features = lambda: None
    await world.registry.unload("p.c")
    assert (await world.answer(CANARYS[0])).model == "p"
    await world.registry.load("p.c", {})
    world.weights["p.c"]._bound = None
    assert (await world.answer(CANARYS[0])).model == "p"
    with pytest.raises(InvalidRequest):
        await world.answer(CANARYS[0], *range(5000))
    assert not world.traffic._moved


async def test_a_canary_that_blocks_costs_its_requests_time_and_no_answer(world: World) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def block() -> None:
        entered.set()
        go_on.wait(WAIT_S)

    world.models["p.c"].before_features = block
    slow = [asyncio.create_task(world.answer(CANARYS[0])) for _ in range(3)]
    await asyncio.to_thread(entered.wait, WAIT_S)
    assert (await world.answer(OTHERS[0])).model == "p"
    assert [one.model for one in await asyncio.gather(*slow)] == ["p"] * 3
    assert (await world.answer(CANARYS[0])).model == "p"
    assert world.registry.ready
    go_on.set()
    await eventually(lambda: world.registry.model_ready("p.c"))
    assert (await world.answer(CANARYS[0])).model == "p.c"


async def test_a_callers_own_timeout_is_not_begun_again_by_the_champion(world: World) -> None:
    go_on = threading.Event()
    world.models["p.c"].before_features = lambda: bool(go_on.wait(WAIT_S)) and None
    first = asyncio.create_task(world.answer(CANARYS[0]))
    await eventually(lambda: world.weights["p.c"].held == 1)
    with pytest.raises(Unavailable, match="timeout expired"):
        await world.answer(CANARYS[0], parameters={"timeout": 1000})
    go_on.set()
    await first


async def test_a_cancelled_request_leaves_whoever_has_it(world: World) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def block() -> None:
        entered.set()
        go_on.wait(WAIT_S)

    def fail() -> None:
        raise KeyError

    world.models["p.c"].before_features = fail
    world.models["p"].before_features = block
    task = asyncio.create_task(world.answer(CANARYS[0]))
    await asyncio.to_thread(entered.wait, WAIT_S)
    assert len(world.traffic._moved) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not world.traffic._moved
    go_on.set()
    await eventually(lambda: world.weights["p"].held == 0)
    assert world.p.statistics.success.count == 0


async def test_a_shadow_predicts_copies_and_delays_nothing(world: World) -> None:
    await asyncio.gather(*(world.answer(key) for key in KEYS[:8]))
    await eventually(lambda: world.s.statistics.inference_count == 8)
    entered, go_on = threading.Event(), threading.Event()

    def block() -> None:
        entered.set()
        go_on.wait(WAIT_S)

    world.models["p.s"].before_features = block
    await world.answer(KEYS[0])
    await asyncio.to_thread(entered.wait, WAIT_S)
    for key in KEYS:  # more than the shadow's queue has room for
        assert (await world.answer(key)).outputs[0].values in ([2.0], [3.0])
    assert world.s.waiting <= 8
    assert world.s.statistics.fail.count > 0
    go_on.set()
    await eventually(lambda: world.registry.model_ready("p.s"))
