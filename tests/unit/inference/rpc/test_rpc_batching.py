"""Dynamic batching: who is executed with whom, when, and that nobody loses an answer by it."""

import asyncio
import itertools
import random
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.model.exact_rows import choose_fixed_kernels
from headrace.model.port import Model
from headrace.weights.worker.source import StaticWeights
from services.inference.oip.layout import Table
from services.inference.oip.messages import (
    InferRequest,
    InputTensor,
    InvalidRequest,
    ModelFailed,
    NotFound,
    OipError,
    Overloaded,
    Unavailable,
)
from services.inference.rpc.batching.batcher import BatchLimits
from services.inference.rpc.batching.jobs import Job
from services.inference.rpc.batching.waiting import Waiting
from services.inference.rpc.service import DataPlane
from tests.patience import WAIT_S, eventually

choose_fixed_kernels()


class Event(msgspec.Struct):
    key: str
    x: float
    parts: list[float] = []
    note: str | None = None


class Label(msgspec.Struct):
    key: str
    y: float


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(3, 32), torch.nn.Tanh(), torch.nn.Linear(32, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Prediction(msgspec.Struct):
    key_length: int
    score: float
    both: list[float]
    text: str


class Parts(Model[Event, Label]):
    key = "key"

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.gate: threading.Event | None = None
        self.entered = threading.Event()

    def network(self) -> torch.nn.Module:
        return Net()

    def features(self, events: Sequence[Event]) -> torch.Tensor:
        self.sizes.append(len(events))
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(WAIT_S)
        if any(e.note == "explode" for e in events):
            raise RuntimeError("this note explodes")
        rows = [(e.x, sum(e.parts), len(e.note or "")) for e in events]
        return torch.tensor(rows, dtype=torch.float32)

    def loss(self, outputs: torch.Tensor, labels: Sequence[Label]) -> torch.Tensor:
        return outputs.sum()

    def predictions(self, outputs: torch.Tensor) -> Sequence[Prediction]:
        return [Prediction(1, a, [a, b], f"{b:.3f}") for a, b in outputs.double().tolist()]

    def error(self, prediction: Prediction, label: Label) -> float:
        return abs(prediction.score - label.y)


class World:
    def __init__(self, **limits: Any) -> None:
        torch.manual_seed(3)
        self.model = Parts()
        self.weights = StaticWeights(Net(), model="parts")
        self.plane = DataPlane("parts", self.model, self.weights, BatchLimits(**limits), max_batch=64)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.plane.close()


def request(xs: Sequence[float], *, note: str | None = None, width: int = 0, raw: bool = False, **more: Any) -> Any:
    rows = len(xs)
    x = InputTensor("x", "FP64", (rows, 1), values=list(xs))
    if raw:
        x = InputTensor("x", "FP64", (rows,), raw=torch.tensor(xs, dtype=torch.float64).numpy().tobytes())
    inputs = [x, InputTensor("key", "BYTES", (rows,), values=[str(v) for v in xs])]
    if note is not None:
        inputs.append(InputTensor("note", "BYTES", (rows,), values=[note] * rows))
    if width:
        inputs.append(InputTensor("parts", "FP64", (rows, width), values=[0.5] * (rows * width)))
    return InferRequest(**{"model": "parts", "version": "", "inputs": inputs, **more})


async def outcomes(plane: DataPlane, requests: Sequence[InferRequest]) -> list[Any]:
    return await asyncio.gather(*(plane.infer(r, f"p{i % 3}") for i, r in enumerate(requests)), return_exceptions=True)


def plain(answer: Any) -> Any:
    if isinstance(answer, OipError):
        return type(answer), str(answer)
    return [(t.name, t.datatype, t.shape, t.values, t.raw()) for t in answer.outputs]


REQUESTS = st.builds(
    request,
    st.lists(st.floats(-9, 9), min_size=1, max_size=5),
    note=st.sampled_from([None, "", "ünï", "explode"]),
    width=st.sampled_from([0, 1, 3]),
    raw=st.booleans(),
    outputs=st.sampled_from([[], ["score"], ["text", "both"], ["nope"]]),
)


@settings(max_examples=60)
@given(requests=st.lists(REQUESTS, min_size=1, max_size=12))
def test_answers_are_the_same_bytes_batched_or_alone(requests: list[InferRequest]) -> None:
    async def run() -> None:
        world = World()
        together = [plain(o) for o in await outcomes(world.plane, requests)]
        alone = [plain((await outcomes(world.plane, [r]))[0]) for r in requests]
        assert together == alone
        world.plane.close()

    asyncio.run(run())


async def test_requests_of_one_turn_of_the_loop_are_one_execution(world: World) -> None:
    answers = await outcomes(world.plane, [request([float(i)], raw=True) for i in range(20)])

    assert world.model.sizes == [20]
    assert [a.outputs[0].shape for a in answers] == [[1, 1]] * 20
    (stats,) = world.plane.model_statistics()
    assert (stats["inference_count"], stats["execution_count"]) == (20, 1)
    assert [(b["batch_size"], b["compute_infer"]["count"]) for b in stats["batch_stats"]] == [(20, 1)]
    assert stats["inference_stats"]["queue"]["count"] == 20


async def test_one_bad_request_costs_the_others_nothing_but_time(world: World) -> None:
    bad = request([1.0], note="explode")
    nan = request([float("nan")], raw=True)
    requests = [request([float(i)], note="ok") for i in range(30)]
    requests[7], requests[21] = bad, nan

    answers = await outcomes(world.plane, requests)

    assert isinstance(answers[7], ModelFailed)
    assert "this note explodes" in str(answers[7])
    assert isinstance(answers[21], InvalidRequest)
    assert "element 0" in str(answers[21])
    for i, answer in enumerate(answers):
        if i not in {7, 21}:
            assert plain(answer) == plain(await world.plane.infer(requests[i]))


async def test_requests_wait_while_a_thread_is_busy_and_are_the_next_batch(world: World) -> None:
    world.model.gate = threading.Event()
    first = asyncio.create_task(world.plane.infer(request([0.0])))
    await asyncio.to_thread(world.model.entered.wait, WAIT_S)
    rest = asyncio.create_task(outcomes(world.plane, [request([float(i)]) for i in range(9)]))
    await eventually(lambda: world.plane.waiting == 9)
    world.model.gate.set()

    await first
    assert not any(isinstance(a, BaseException) for a in await rest)
    assert world.model.sizes == [1, 9]


async def busy(world: World) -> "asyncio.Task[Any]":
    """Occupy the only thread, until the model's gate is opened."""
    world.model.gate = threading.Event()
    task = asyncio.create_task(world.plane.infer(request([0.0])))
    await asyncio.to_thread(world.model.entered.wait, WAIT_S)
    return task


async def test_a_full_queue_refuses_and_a_timeout_ends_the_wait() -> None:
    world = World(max_waiting=4)
    first = await busy(world)
    waits = asyncio.create_task(world.plane.infer(request([1.0] * 3)))
    brief = asyncio.create_task(world.plane.infer(request([1.0], parameters={"timeout": 1000})))
    await eventually(brief.done)
    with pytest.raises(Unavailable, match="Request timeout expired"):
        await brief
    with pytest.raises(Overloaded, match="Exceeds maximum queue size"):
        await world.plane.infer(request([1.0] * 2))
    assert world.model.gate is not None
    world.model.gate.set()
    await asyncio.gather(first, waits)
    (stats,) = world.plane.model_statistics()
    assert (stats["inference_stats"]["success"]["count"], stats["inference_stats"]["fail"]["count"]) == (2, 2)
    world.plane.close()


async def test_a_request_cancelled_while_it_waits_is_not_executed(world: World) -> None:
    first = await busy(world)
    gone = asyncio.create_task(world.plane.infer(request([1.0] * 5)))
    stays = asyncio.create_task(world.plane.infer(request([1.0] * 2)))
    await eventually(lambda: world.plane.waiting == 7)
    gone.cancel()
    await eventually(lambda: world.plane.waiting == 2)
    assert world.model.gate is not None
    world.model.gate.set()
    await asyncio.gather(first, stays)
    assert world.model.sizes == [1, 2]


async def test_a_batch_is_bound_to_one_version_and_a_named_version_to_itself(world: World) -> None:
    first = await busy(world)
    named = asyncio.create_task(world.plane.infer(request([1.0], version="1")))
    any_version = asyncio.create_task(world.plane.infer(request([1.0])))
    await eventually(lambda: world.plane.waiting == 2)
    world.weights.swap(Net(), 2)
    assert world.model.gate is not None
    world.model.gate.set()
    assert (await first).version == 1
    assert (await any_version).version == 2
    assert (await named).version == 1


async def test_a_named_version_that_leaves_while_its_requests_wait_is_not_found_and_the_others_are_answered(
    world: World,
) -> None:
    first = await busy(world)
    named = asyncio.create_task(world.plane.infer(request([1.0], version="1")))
    any_version = asyncio.create_task(world.plane.infer(request([1.0])))
    await eventually(lambda: world.plane.waiting == 2)
    for version in (2, 3):
        world.weights.swap(Net(), version)
    assert world.model.gate is not None
    world.model.gate.set()
    assert (await first).version == 1
    assert (await any_version).version == 3
    with pytest.raises(NotFound, match="version 1 is not found: it has just left"):
        await named


async def test_a_delay_waits_for_more_and_no_longer() -> None:
    world = World(max_delay_us=500_000, max_events=3)
    one = asyncio.create_task(world.plane.infer(request([1.0])))
    await asyncio.sleep(0.001)
    two = asyncio.create_task(world.plane.infer(request([1.0])))
    await asyncio.gather(one, two)
    assert world.model.sizes == [2]
    await outcomes(world.plane, [request([1.0])] * 3)
    assert world.model.sizes == [2, 3]
    world.plane.close()


async def test_short_executions_come_to_run_on_the_loop_and_long_ones_never() -> None:
    threads: list[str] = []

    class Where(Parts):
        def features(self, events: Sequence[Event]) -> torch.Tensor:
            threads.append(threading.current_thread().name)
            return super().features(events)

    for on_loop_us, last in ((10**7, "MainThread"), (0, "predict_0")):
        threads.clear()
        plane = DataPlane("parts", Where(), StaticWeights(Net(), model="parts"), BatchLimits(on_loop_us=on_loop_us))
        for _ in range(6):
            await plane.infer(request([1.0]))
        assert threads[0] == "predict_0"
        assert threads[-1] == last
        plane.close()


async def test_a_stop_answers_all_who_wait(world: World) -> None:
    first = await busy(world)
    waits = [asyncio.create_task(world.plane.infer(request([1.0]))) for _ in range(5)]
    await eventually(lambda: world.plane.waiting == 5)
    assert world.model.gate is not None
    world.model.gate.set()
    world.plane.close()
    assert (await first).version == 1
    for task in waits:
        with pytest.raises(Unavailable, match="stops"):
            await task
    with pytest.raises(Unavailable):
        await world.plane.infer(request([1.0]))


def job(peer: str, rows: int = 1, priority: int = 2) -> Job:
    return Job(Table(rows, (), []), lambda _: None, peer=peer, priority=priority)


def test_callers_take_turns_and_priorities_go_first() -> None:
    waiting = Waiting()
    jobs = [*(job("greedy") for _ in range(50)), job("modest"), job("modest"), job("urgent", priority=1)]
    for one in jobs:
        waiting.put(one)

    assert [j.peer for j in waiting.take(5)] == ["urgent", "greedy", "modest", "greedy", "modest"]
    assert waiting.events == 48


def test_a_request_larger_than_a_batch_goes_alone() -> None:
    waiting = Waiting()
    for one in (job("a", 3), job("b", 20), job("c", 3)):
        waiting.put(one)

    assert [[j.table.rows for j in waiting.take(8)] for _ in range(3)] == [[3], [20], [3]]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.integers(1, 3), st.booleans())), st.randoms())
def test_every_request_is_taken_once_or_was_withdrawn(rows: list[Any], order: random.Random) -> None:
    waiting = Waiting()
    jobs = [job(peer, size, priority) for peer, size, priority, _ in rows]
    for one in jobs:
        waiting.put(one)
    gone = [one for one, (*_, withdrawn) in zip(jobs, rows, strict=True) if withdrawn]
    order.shuffle(gone)
    for one in gone:
        assert waiting.withdraw(one)
        assert not waiting.withdraw(one)
    taken = list(itertools.chain.from_iterable(iter(lambda: waiting.take(8), [])))
    assert {id(j) for j in taken} | {id(j) for j in gone} == {id(j) for j in jobs}
    assert len(taken) + len(gone) == len(jobs)
    assert waiting.events == 0
