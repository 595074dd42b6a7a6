"""Several models in one server: found by name, ready together, loaded and unloaded apart, isolated from each other."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from headrace.runtime.errors import ConfigError
from headrace.weights.worker.source import StaticWeights
from services.inference.oip.messages import InferRequest, InvalidRequest, ModelFailed, NotFound, Unavailable
from services.inference.rpc.batching.batcher import BatchLimits
from services.inference.rpc.metrics import ProtocolCollector
from services.inference.rpc.models.registry import Registry
from services.inference.rpc.service import DataPlane
from services.inference.rpc.settings import RpcSettings
from tests.patience import WAIT_S, eventually
from tests.unit.inference.rpc.test_rpc_plane import Counted, Scale, Scaled, request


class Two:
    """Models `a`, whose executions may take 50 ms, and `b`."""

    def __init__(self) -> None:
        self.a, self.b = Scaled(), Scaled()
        self.weights = {name: Counted(Scale(factor), model=name) for name, factor in (("a", 2.0), ("b", 3.0))}
        limits = BatchLimits(max_waiting=4, on_loop_us=0, overdue_s=0.05)
        self.first = DataPlane("a", self.a, self.weights["a"], limits)
        second = DataPlane("b", self.b, self.weights["b"], BatchLimits(on_loop_us=0))
        further = DataPlane("b.c", Scaled(), StaticWeights(None, model="b.c"), required=False)
        self.models = Registry([self.first, second, further])

    async def answer(self, model: str, *xs: float) -> list[float]:
        return (await self.models.infer(of(model, *xs))).outputs[0].values


def of(model: str, *xs: float) -> InferRequest:
    return request(*xs, model=model)


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    made = Two()
    yield made
    for model in made.models:
        await model.stop()


async def test_a_request_is_answered_by_the_model_that_it_names(two: Two) -> None:
    assert await asyncio.gather(two.answer("a", 1.0), two.answer("b", 1.0)) == [[2.0], [3.0]]
    with pytest.raises(NotFound, match="unknown model: 'c' is not found"):
        await two.answer("c", 1.0)
    with pytest.raises(Unavailable, match="no version"):
        await two.answer("b.c", 1.0)
    stats = {one["name"]: one["inference_count"] for one in two.models.model_statistics()}
    assert stats == {"a": 1, "b": 1, "b.c": 0}
    assert [one["name"] for one in two.models.model_statistics("b")] == ["b"]
    with pytest.raises(InvalidRequest, match="the name of its model"):
        two.models.model_statistics("", "1")


async def test_names_are_unique(two: Two) -> None:
    with pytest.raises(ValueError, match="two models have the name 'a'"):
        two.models.add(two.first)


async def test_it_is_ready_while_every_required_model_that_is_loaded_is(two: Two) -> None:
    assert (two.models.ready, two.models.available) == (True, True)
    two.weights["a"].behind = "the fleet serves version 2"
    assert (two.models.ready, two.models.model_ready("a"), two.models.model_ready("b")) == (False, False, True)
    assert await two.answer("a", 1.0) == [2.0]
    await two.models.unload("a")
    assert two.models.ready
    assert [one["name"] for one in two.models.index(ready_only=True)] == ["b"]
    assert [one["state"] for one in two.models.index()] == ["UNAVAILABLE", "READY", "UNAVAILABLE"]
    with pytest.raises(NotFound, match="'a' has no available versions"):
        await two.answer("a", 1.0)
    await two.models.load("a", {})
    assert not two.models.ready
    assert not two.models.model_ready("nope")
    await two.models.unload("nope")
    with pytest.raises(InvalidRequest, match=r"this server serves 'a', 'b', 'b\.c' alone"):
        await two.models.load("nope", {})


async def test_a_model_that_raises_costs_the_other_nothing(two: Two) -> None:
    def fail() -> None:
        raise MemoryError

    two.a.before_features = fail
    failed, answered = await asyncio.gather(two.answer("a", 1.0), two.answer("b", 1.0), return_exceptions=True)
    assert isinstance(failed, ModelFailed)
    assert answered == [3.0]


async def test_a_model_that_blocks_sheds_its_own_requests_until_it_is_back(two: Two) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def block() -> None:
        entered.set()
        go_on.wait(WAIT_S)

    two.a.before_features = block
    blocked = asyncio.create_task(two.answer("a", 1.0))
    await asyncio.to_thread(entered.wait, WAIT_S)
    waiting = asyncio.create_task(two.answer("a", 1.0))

    assert await two.answer("b", 1.0) == [3.0]
    for task in (blocked, waiting):
        with pytest.raises(Unavailable, match=r"within 0.05 s|more than 0.05 s"):
            await task
    with pytest.raises(Unavailable, match=r"has been computing for more than 0\.05 s"):
        await two.answer("a", 1.0)
    assert (two.models.model_ready("a"), two.models.model_ready("b"), two.models.ready) == (False, True, False)
    assert await two.answer("b", 1.0) == [3.0]
    assert (two.first.statistics.success.count, two.first.statistics.fail.count) == (0, 3)

    two.a.before_features = lambda: None
    go_on.set()
    await eventually(lambda: two.models.model_ready("a"))
    assert await two.answer("a", 1.0) == [2.0]


async def test_a_full_queue_of_one_model_refuses_nothing_of_another(two: Two) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def block() -> None:
        entered.set()
        go_on.wait(WAIT_S)

    two.b.before_features = block
    blocked = asyncio.create_task(two.answer("b", 1.0))
    await asyncio.to_thread(entered.wait, WAIT_S)
    waiting = [asyncio.create_task(two.answer("b", 1.0)) for _ in range(20)]
    await asyncio.sleep(0)
    assert await two.answer("a", 1.0, 2.0, 3.0, 4.0) == [2.0, 4.0, 6.0, 8.0]
    go_on.set()
    assert await asyncio.gather(blocked, *waiting) == [[3.0]] * 21


async def test_metrics_name_each_model_once(two: Two) -> None:
    await two.answer("b", 1.0, 1.0)
    registry = CollectorRegistry()
    ProtocolCollector(lambda: [(one.name, one.statistics) for one in two.models], registry)
    lines = generate_latest(registry).decode().splitlines()
    assert [line for line in lines if line.startswith("nv_inference_count{")] == [
        'nv_inference_count{model="a"} 0.0',
        'nv_inference_count{model="b"} 2.0',
        'nv_inference_count{model="b.c"} 0.0',
    ]
    assert sum(line.startswith("# HELP headrace_inference_phase_seconds ") for line in lines) == 1


# Settings.


def test_a_model_may_have_limits_of_its_own() -> None:
    limits = {"a.queue_max_events": "7", "a.b.predict_threads": "3", "a.b.loop_max_us": "5"}
    settings = RpcSettings(model_limits=limits)
    a, ab = settings.limits_of("a", alone=False), settings.limits_of("a.b", alone=False)
    assert (a.queue_max_events, a.predict_threads, a.loop_max_us) == (7, 1, 0)
    assert (ab.queue_max_events, ab.predict_threads, ab.loop_max_us) == (262_144, 3, 5)
    assert RpcSettings().limits_of("a", alone=True).loop_max_us == 1000
    assert RpcSettings(loop_max_us=200).limits_of("a", alone=False).loop_max_us == 200


@pytest.mark.parametrize(
    ("given", "says"), [({"a.host": "x"}, "no such limit"), ({"a.predict_threads": "0"}, "greater than or equal to 1")]
)
def test_a_limit_that_does_not_fit_is_a_readable_error(given: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        RpcSettings(model_limits=given).limits_of("a", alone=True)


def test_files_of_weights_are_named_by_their_model() -> None:
    settings = RpcSettings(weights="/w/one.safetensors,b.c=/w/two=2.safetensors")
    found = settings.weights_of(["a", "b", "b.c"])
    assert {name: str(file) for name, file in found.items()} == {
        "a": "/w/one.safetensors",
        "b.c": "/w/two=2.safetensors",
    }
    with pytest.raises(ConfigError, match="no model 'd'"):
        RpcSettings(weights="d=/w/one").weights_of(["a"])
    with pytest.raises(ConfigError, match="no pipeline"):
        _ = RpcSettings().folders
