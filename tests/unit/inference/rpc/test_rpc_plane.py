"""The data plane: which version answers, how long it is held, what is counted."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
import torch

from headrace.model.port import Model
from headrace.weights.worker.source import Bound, StaticWeights
from services.inference.oip.messages import (
    InferRequest,
    InputTensor,
    InvalidRequest,
    ModelFailed,
    NotFound,
    Unavailable,
)
from services.inference.rpc.batching.batcher import BatchLimits
from services.inference.rpc.models.registry import Registry
from services.inference.rpc.service import DataPlane
from tests.patience import WAIT_S, eventually


class Event(msgspec.Struct):
    key: str
    x: float


class Label(msgspec.Struct):
    key: str
    y: float


class Scale(torch.nn.Module):
    """x to factor * x."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


class Scaled(Model[Event, Label]):
    key = "key"

    def __init__(self) -> None:
        self.before_features: Callable[[], None] = lambda: None

    def network(self) -> torch.nn.Module:
        return Scale()

    def features(self, events: Sequence[Event]) -> torch.Tensor:
        self.before_features()
        return torch.tensor([e.x for e in events], dtype=torch.float64)

    def loss(self, outputs: torch.Tensor, labels: Sequence[Label]) -> torch.Tensor:
        return outputs.sum()

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        return outputs.tolist()

    def error(self, prediction: float, label: Label) -> float:
        return abs(prediction - label.y)


class Counted(StaticWeights):
    """Counts the leases that are held; `behind` is what the test says."""

    held = 0
    behind = ""

    @contextmanager
    def lease(self) -> Iterator[Bound]:
        with super().lease() as bound:
            self.held += 1
            try:
                yield bound
            finally:
                self.held -= 1


def request(*xs: float, **changes: Any) -> InferRequest:
    inputs = [
        InputTensor("key", "BYTES", (len(xs),), values=["k"] * len(xs)),
        InputTensor("x", "FP64", (len(xs),), values=list(xs)),
    ]
    return InferRequest(**{"model": "scaled", "version": "", "inputs": inputs, **changes})


class World:
    def __init__(self, factor: float | None = 2.0, **options: Any) -> None:
        self.model = Scaled()
        self.weights = Counted(Scale(factor) if factor is not None else None, model="scaled")
        limits = BatchLimits(threads=2)
        self.plane = DataPlane("scaled", self.model, self.weights, limits, **{"max_batch": 8, **options})


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.plane.close()


async def test_the_answer_is_the_models_and_names_its_weights(world: World) -> None:
    answer = await world.plane.infer(request(1.0, 2.5, id="i"))

    assert answer.outputs[0].values == [2.0, 5.0]
    assert (answer.model, answer.version, answer.id) == ("scaled", 1, "i")
    with world.weights.lease() as bound:
        assert answer.checkpoint == bound.checkpoint


async def test_a_worker_that_is_behind_is_not_ready_and_answers_all_the_same(world: World) -> None:
    world.weights.behind = "the fleet serves version 2"

    assert (world.plane.reason, world.plane.model_ready()) == ("the fleet serves version 2", False)
    assert Registry([world.plane]).index(ready_only=True) == []
    assert world.plane.index()[0]["reason"] == "the fleet serves version 2"
    assert (await world.plane.infer(request(1.0))).version == 1
    world.weights.behind = ""
    assert not world.plane.reason


async def test_a_request_keeps_the_version_that_it_was_bound_to(world: World) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        go_on.wait(WAIT_S)

    world.model.before_features = wait
    task = asyncio.create_task(world.plane.infer(request(1.0)))
    await asyncio.to_thread(entered.wait, 10)
    world.weights.swap(Scale(30.0), 2)
    world.model.before_features = lambda: None
    newer = await world.plane.infer(request(1.0))
    go_on.set()
    older = await task

    assert (older.version, older.outputs[0].values) == (1, [2.0])
    assert (newer.version, newer.outputs[0].values) == (2, [30.0])
    assert world.weights.held == 0


async def test_a_caller_that_goes_away_leaves_the_lease_until_the_network_is_free(world: World) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        go_on.wait(WAIT_S)

    world.model.before_features = wait
    task = asyncio.create_task(world.plane.infer(request(1.0)))
    await asyncio.to_thread(entered.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.weights.held == 1

    go_on.set()
    await eventually(lambda: world.weights.held == 0)


async def test_a_version_that_is_kept_may_be_named_and_answers_by_its_own_weights(world: World) -> None:
    world.weights.swap(Scale(3.0), 7)
    world.weights.swap(Scale(4.0), 9)

    asked = {version: await world.plane.infer(request(1.0, version=version)) for version in ("", "7", "9", "-1")}
    assert {version: (a.version, a.outputs[0].values) for version, a in asked.items()} == {
        "": (9, [4.0]), "7": (7, [3.0]), "9": (9, [4.0]), "-1": (9, [4.0]),
    }  # fmt: skip
    for version in ("1", "8", "-7"):
        with pytest.raises(NotFound, match=f"version {version} is not found: kept are 7, 9"):
            await world.plane.infer(request(1.0, version=version))
    for version in ("x", "1.0", "７", " 7"):
        with pytest.raises(InvalidRequest, match="not an integer"):
            await world.plane.infer(request(1.0, version=version))


async def test_labels_name_versions() -> None:
    world = World(labels={"golden": 1, "gone": 5})
    world.weights.swap(Scale(3.0), 7)

    for label, version in (("latest", 7), ("stable", 7), ("golden", 1)):
        assert (await world.plane.infer(request(1.0, version=label))).version == version
        assert world.plane.model_ready(label)
    with pytest.raises(NotFound, match="version 'canary' is not found: kept are 1, 7"):
        await world.plane.infer(request(1.0, version="canary"))
    with pytest.raises(NotFound, match="version 5, its 'gone', is not found"):
        world.plane.metadata("gone")
    with pytest.raises(InvalidRequest, match="nor one of the labels latest, stable, canary, golden, gone"):
        world.plane.config("newest")
    told = world.plane.config("golden")
    assert told["version_policy"] == {"latest": {"num_versions": 2}}
    assert told["parameters"]["version_labels"] == {"string_value": "golden=1,gone=5,latest=7,stable=7"}
    world.plane.close()


async def test_metadata_and_index_name_every_version_that_is_kept(world: World) -> None:
    world.weights.swap(Scale(3.0), 7)
    world.weights.behind = "the fleet serves version 8"

    assert world.plane.metadata()["versions"] == ["1", "7"]
    assert world.plane.index() == [
        {"name": "scaled", "version": "1", "state": "READY"},
        {"name": "scaled", "version": "7", "state": "UNAVAILABLE", "reason": "the fleet serves version 8"},
    ]
    await world.plane.unload()
    assert [one["reason"] for one in world.plane.index()] == ["unloaded", "unloaded"]


async def test_requests_that_name_versions_are_answered_beside_those_that_do_not(world: World) -> None:
    world.weights.swap(Scale(3.0), 7)
    versions = ["", "1", "7", "stable", "1", ""]
    answers = await asyncio.gather(
        *(world.plane.infer(request(float(i), version=version)) for i, version in enumerate(versions))
    )

    assert [a.version for a in answers] == [7, 1, 7, 7, 1, 7]
    assert [a.outputs[0].values for a in answers] == [[0.0], [2.0], [6.0], [9.0], [8.0], [15.0]]
    assert world.weights.held == 0


async def test_without_weights_requests_may_be_tried_again() -> None:
    world = World(factor=None)

    assert world.plane.reason
    with pytest.raises(Unavailable):
        await world.plane.infer(request(1.0))
    assert world.plane.index() == [
        {"name": "scaled", "version": "", "state": "UNAVAILABLE", "reason": "no version of the weights is live yet"}
    ]
    world.plane.close()


async def test_a_batch_that_is_too_large_is_refused(world: World) -> None:
    assert len((await world.plane.infer(request(*range(8)))).outputs[0].values) == 8
    with pytest.raises(InvalidRequest, match="batch-size must be <= 8"):
        await world.plane.infer(request(*range(9)))


async def test_what_the_model_raises_is_this_requests_error_alone(world: World) -> None:
    def fail() -> None:
        raise KeyError("zone")

    world.model.before_features = fail
    with pytest.raises(ModelFailed, match="version 1 raised KeyError: 'zone'"):
        await world.plane.infer(request(1.0))
    world.model.before_features = lambda: None

    assert (await world.plane.infer(request(1.0))).outputs[0].values == [2.0]


async def test_requests_are_counted_with_their_events_and_phases(world: World) -> None:
    for size in (1, 3, 3):
        await world.plane.infer(request(*[1.0] * size))
    with pytest.raises(NotFound):
        await world.plane.infer(request(1.0, version="9"))

    (stats,) = world.plane.model_statistics()

    assert (stats["inference_count"], stats["execution_count"]) == (7, 3)
    counts = {name: one["count"] for name, one in stats["inference_stats"].items()}
    assert counts == {
        "success": 3,
        "fail": 1,
        "queue": 3,
        "compute_input": 3,
        "compute_infer": 3,
        "compute_output": 3,
        "cache_hit": 0,
        "cache_miss": 0,
    }
    assert [(b["batch_size"], b["compute_infer"]["count"]) for b in stats["batch_stats"]] == [(1, 1), (3, 2)]


async def test_counts_go_on_over_versions(world: World) -> None:
    await world.plane.infer(request(1.0))
    world.weights.swap(Scale(), 2)
    await world.plane.infer(request(1.0))

    (stats,) = world.plane.model_statistics()

    assert (stats["version"], stats["inference_count"]) == ("2", 2)


async def test_an_unloaded_model_is_there_again_after_a_load(world: World) -> None:
    await world.plane.unload()
    assert (world.plane.model_ready(), Registry([world.plane]).ready) == (False, True)
    with pytest.raises(NotFound, match="no available versions"):
        await world.plane.infer(request(1.0))
    with pytest.raises(InvalidRequest, match="cannot be overridden"):
        await world.plane.load({"config": "{}"})

    await world.plane.load({})
    assert world.plane.model_ready()


async def test_what_the_model_raises_is_told_without_secrets(world: World) -> None:
    def fail() -> None:
        raise RuntimeError("cannot reach redis://:hush@cache/0")

    world.model.before_features = fail
    with pytest.raises(ModelFailed, match=r"version 1 raised RuntimeError: cannot reach redis://:\*\*\*@cache/0"):
        await world.plane.infer(request(1.0))
