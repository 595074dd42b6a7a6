"""Where a request's time went, for those that ask: the same stages by every way to ask."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from headrace.contracts.oip import service_pb2 as pb
from services.inference.oip.messages import InferRequest, InvalidRequest
from services.inference.oip.rest_codec import BinaryOutputs
from services.inference.rpc.grpc.infer import RawInfer
from services.inference.rpc.grpc.stream import InferStream
from services.inference.rpc.models.registry import Registry
from services.inference.rpc.rest.answers import answer_headers
from tests.unit.inference.rpc.test_rpc_batching import World, request
from tests.unit.inference.rpc.test_rpc_raw_infer import by_bytes, message
from tests.unit.inference.rpc.test_rpc_response_cache import Cached

STAGES = {"queue_ns", "compute_input_ns", "compute_infer_ns", "compute_output_ns", "total_ns"}


def asking(*values: float) -> InferRequest:
    made = request(list(values))
    made.parameters = {"timing": True}
    return made


def plausible(parameters: dict[str, int], events: int) -> bool:
    stages = sum(parameters[name] for name in STAGES - {"total_ns"})
    return 0 < stages <= parameters["total_ns"] < 60e9 and parameters["batch_events"] == events


async def test_an_answer_says_where_its_time_went_to_those_who_ask_and_to_nobody_else() -> None:
    world = World()
    asked, other = await asyncio.gather(world.plane.infer(asking(1.0, 2.0)), world.plane.infer(request([3.0])))

    assert asked.parameters is not None
    assert plausible(dict(asked.parameters), 3), "of both requests, which were one batch"
    assert other.parameters is None
    world.plane.close()


async def test_the_stages_are_those_that_the_statistics_count() -> None:
    world = World()
    told = (await world.plane.infer(asking(1.0))).parameters
    counted = world.plane.model_statistics()[0]["inference_stats"]

    assert told is not None
    assert {name: told[f"{name}_ns"] for name in ("queue", "compute_input", "compute_infer", "compute_output")} == {
        name: counted[name]["ns"] for name in ("queue", "compute_input", "compute_infer", "compute_output")
    }
    assert told["total_ns"] == counted["success"]["ns"]
    world.plane.close()


async def test_an_answer_from_the_cache_says_so() -> None:
    world = Cached()
    computed = await world.plane.infer(asking(1.0))
    found = await world.plane.infer(asking(1.0))

    assert computed.parameters is not None
    assert found.parameters is not None
    assert set(computed.parameters) == STAGES | {"batch_events"}
    assert set(found.parameters) == {"queue_ns", "cache_hit_ns", "total_ns"}
    assert 0 < found.parameters["cache_hit_ns"] <= found.parameters["total_ns"]
    assert (await world.plane.infer(request([1.0]))).parameters is None
    world.plane.close()


@pytest.mark.parametrize("value", [1, "true", None])
async def test_a_wish_that_is_neither_true_nor_false_is_refused(value: Any) -> None:
    world = World()
    wrong = request([1.0])
    wrong.parameters = {"timing": value}
    with pytest.raises(InvalidRequest, match="'timing' must be true or false"):
        await world.plane.infer(wrong)
    world.plane.close()


async def test_it_is_in_the_answers_over_grpc_whether_the_request_is_known_already_or_not() -> None:
    world = World()
    raw = RawInfer(Registry([world.plane]))
    wanted = pb.ModelInferRequest.FromString(message(2))
    wanted.parameters["timing"].bool_param = True
    for _ in range(2):
        answer = await by_bytes(raw, wanted.SerializeToString())
        assert plausible({n: v.int64_param for n, v in answer.parameters.items() if n != "checkpoint"}, 2)
        assert set((await by_bytes(raw, message(2))).parameters) == {"checkpoint"}
    world.plane.close()


async def test_it_is_in_each_answer_of_a_stream() -> None:
    world = World()
    wanted = pb.ModelInferRequest.FromString(message(1))
    wanted.parameters["timing"].bool_param = True
    written: list[pb.ModelStreamInferResponse] = []

    async def requests() -> AsyncIterator[pb.ModelInferRequest]:
        yield wanted
        yield pb.ModelInferRequest.FromString(message(1))

    async def write(answer: pb.ModelStreamInferResponse) -> None:
        written.append(answer)

    await InferStream(Registry([world.plane]), "test", write).run(requests())

    asked, other = (set(one.infer_response.parameters) for one in written)
    assert asked - other == STAGES | {"batch_events"}
    world.plane.close()


@pytest.mark.parametrize("binary", [False, True])
async def test_it_is_in_the_answers_over_rest(*, binary: bool) -> None:
    world = World()
    answer = await world.plane.infer(asking(1.0, 2.0))
    headers, body = answer_headers(answer, BinaryOutputs(default=binary), "")
    length = dict(headers).get(b"Inference-Header-Content-Length")

    assert (length is not None) is binary
    parameters = orjson.loads(body[: int(length)] if length else body)["parameters"]
    assert plausible({name: value for name, value in parameters.items() if name != "checkpoint"}, 2)
    world.plane.close()
