"""Messages go to workers in turn, before reports are written; reports that say the same go together."""

import asyncio
import contextlib

import pytest

from headrace.contracts.events_pb2 import WeightsApplied
from headrace.weights.worker.wire import Activate, Stage, Staged
from services.ckpt.agent.delivery.delivery import Delivery
from services.ckpt.agent.delivery.outbox import Outbox
from services.ckpt.agent.delivery.turns import Turns
from services.ckpt.agent.state import Report, Send

STAGE = Stage(1, "d1", b"", "/slot")


class Out:
    """What went out, in order: ("send", connection, message's kind) and ("report", worker)."""

    def __init__(self, *, at_once: int = 2, hold_s: float = 0.0) -> None:
        self.went: list[tuple[str, object]] = []
        self.closed = False
        self.more = False
        self.written = asyncio.Event()
        self.delivery = Delivery(
            lambda connection, message: self.went.append((type(message).__name__, connection)),
            turns=Turns(at_once),
            outbox=Outbox(hold_s),
            more_to_come=lambda _: self.more,
            bytes_given=len,
        )
        self.delivery.open(self)

    def send(self, reports: list[WeightsApplied]) -> None:
        self.went += [(f"report of {applied.bytes_to_peers}", applied.worker) for applied in reports]
        self.written.set()

    def poll(self) -> None:
        self.went.append(("poll", 0))

    def close(self) -> None:
        self.closed = True


def staged(worker: str) -> Report:
    return Report(WeightsApplied(model="toy", worker=worker, state=WeightsApplied.STAGED, version=1))


def test_messages_go_before_the_reports_that_were_asked_for_first() -> None:
    """A report carries the bytes that were given to other agents by then."""
    out = Out()
    out.delivery.deliver([staged("a"), Send(1, Activate(1, "d1"))])
    assert out.went == [("Activate", 1), ("report of 3", "a")]


@pytest.mark.parametrize("end", ["staged", "gone"])
def test_the_next_worker_stages_when_one_is_done_or_gone(end: str) -> None:
    out = Out(at_once=1)
    out.delivery.deliver([Send(1, STAGE), Send(2, STAGE), Send(2, Activate(1, "d1"))])
    assert out.went == [("Stage", 1)]
    if end == "staged":
        out.delivery.on_message(1, Staged(1, "d1", {}))
    else:
        out.delivery.on_gone(1)
    assert out.went[1:] == [("Stage", 2), ("Activate", 2)]


async def test_reports_wait_for_others_that_say_the_same_and_are_written_when_they_have_waited_long_enough() -> None:
    out = Out(hold_s=0.01)
    running = asyncio.ensure_future(out.delivery.run())
    out.more = True
    out.delivery.deliver([staged("a")])
    assert out.went == []
    await out.written.wait()
    assert out.went == [("report of 3", "a")]
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_what_is_held_back_is_written_at_the_end() -> None:
    out = Out(hold_s=3600.0)
    out.more = True
    out.delivery.deliver([staged("a")])
    out.delivery.flush()
    await out.delivery.close()
    assert (out.went, out.closed) == ([("report of 3", "a")], True)
