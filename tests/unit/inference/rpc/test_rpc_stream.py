"""ModelStreamInfer: several requests at a time, answered in order, bounded, and cleaned up when the caller goes."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable

import pytest

from headrace.contracts.oip import service_pb2 as pb
from services.inference.rpc.grpc.stream import InferStream
from services.inference.rpc.models.registry import Registry
from tests.patience import eventually
from tests.unit.inference.rpc.test_rpc_batching import World
from tests.unit.inference.rpc.test_rpc_raw_infer import message


def requests(count: int, *, wrong: Iterable[int] = ()) -> list[pb.ModelInferRequest]:
    models = ["nope" if i in set(wrong) else "parts" for i in range(count)]
    return [
        pb.ModelInferRequest.FromString(message(1 + i % 3, identifier=f"r{i}", model=m)) for i, m in enumerate(models)
    ]


class Caller:
    """Sends requests, and takes answers while `reads` is set."""

    def __init__(self, sent: list[pb.ModelInferRequest], *, ends: bool = True) -> None:
        self.taken = 0
        self.answers: list[pb.ModelStreamInferResponse] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self._sent, self._ends = sent, ends

    async def requests(self) -> AsyncIterator[pb.ModelInferRequest]:
        for one in self._sent:
            self.taken += 1
            yield one
        if not self._ends:
            await asyncio.Event().wait()

    async def write(self, answer: pb.ModelStreamInferResponse) -> None:
        await self.reads.wait()
        self.answers.append(answer)

    @property
    def ids(self) -> list[str]:
        return [answer.infer_response.id for answer in self.answers]


async def test_a_stream_is_answered_in_order_and_goes_on_after_errors() -> None:
    world, caller = World(), Caller(requests(20, wrong=(3, 11)))
    await InferStream(Registry([world.plane]), "me", caller.write).run(caller.requests())

    assert caller.ids == [f"r{i}" for i in range(20)]
    assert [i for i, a in enumerate(caller.answers) if a.error_message] == [3, 11]
    assert "unknown model: 'nope'" in caller.answers[3].error_message
    assert [a.infer_response.outputs[0].shape[0] for i, a in enumerate(caller.answers[:3])] == [1, 2, 3]
    assert all(a.infer_response.parameters["triton_final_response"].bool_param for a in caller.answers)
    world.plane.close()


async def test_requests_of_a_stream_are_executed_together() -> None:
    world, caller = World(), Caller(requests(30))
    await InferStream(Registry([world.plane]), "me", caller.write).run(caller.requests())

    assert sum(world.model.sizes) == 60
    assert len(world.model.sizes) < 10
    world.plane.close()


@pytest.mark.parametrize("in_flight", [1, 4])
async def test_no_more_is_read_than_may_be_in_flight(in_flight: int) -> None:
    world, caller = World(), Caller(requests(20))
    caller.reads.clear()
    running = asyncio.create_task(
        InferStream(Registry([world.plane]), "me", caller.write, in_flight=in_flight).run(caller.requests())
    )
    await eventually(lambda: world.plane.statistics.success.count == in_flight)
    for _ in range(50):
        await asyncio.sleep(0)
    assert (caller.taken, caller.answers) == (in_flight, [])

    caller.reads.set()
    await running
    assert caller.ids == [f"r{i}" for i in range(20)]
    world.plane.close()


async def test_a_caller_that_cancels_leaves_nothing_behind() -> None:
    world, caller = World(), Caller(requests(8), ends=False)
    caller.reads.clear()
    running = asyncio.create_task(
        InferStream(Registry([world.plane]), "me", caller.write, in_flight=100).run(caller.requests())
    )
    await eventually(lambda: caller.taken == 8)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await eventually(lambda: len(asyncio.all_tasks()) == 1)

    statistics = world.plane.statistics
    assert world.plane.waiting == 0
    assert statistics.success.count + statistics.fail.count == 8
    world.plane.close()


async def test_requests_in_hand_are_cancelled_with_the_stream() -> None:
    world, caller = World(on_loop_us=0), Caller(requests(8), ends=False)
    world.model.gate = threading.Event()
    running = asyncio.create_task(InferStream(Registry([world.plane]), "me", caller.write).run(caller.requests()))
    await eventually(lambda: caller.taken == 8 and world.model.entered.is_set())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    world.model.gate.set()

    assert world.plane.waiting == 0
    assert world.plane.statistics.fail.count == 8
    assert caller.answers == []
    world.plane.close()
