"""One request on its way through the batcher."""

from asyncio import TimerHandle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from services.inference.oip.layout import Table
from services.inference.oip.messages import InferAnswer, OipError, OutputPlace
from services.inference.oip.shared_memory import deposit
from services.inference.rpc.statistics import Execution

Outcome = InferAnswer | OipError


@dataclass(slots=True, eq=False)
class Job:
    """A request that was admitted.

    Attributes:
        table: its columns.
        deliver: gets the answer or the error, once, on the event loop's thread; never after `cancelled`.
        version: the version that it asks for; 0 for the live one.
        outputs: the outputs that it asks for; () for all.
        id: what the caller calls it.
        peer: whose it is; callers of the same priority take turns.
        priority: 1 is first.
        timeout_us: for how long it may wait to be executed; 0 is for ever.
        arrived: by `time.perf_counter_ns`.
        waiting: whether it waits to be executed.
        cancelled: nobody wants its answer any more.
        execution: the one that answered it.
        places: the outputs that go to shared memory.
        timing: whether the answer says where its time went.
    """

    table: Table
    deliver: Callable[[Outcome], None]
    version: int = 0
    outputs: tuple[str, ...] = ()
    id: str = ""
    peer: str = ""
    priority: int = 1
    timeout_us: int = 0
    arrived: int = 0
    waiting: bool = False
    cancelled: bool = False
    execution: Execution | None = None
    places: Mapping[str, OutputPlace] = field(default_factory=dict)
    timing: bool = False
    timer: TimerHandle | None = field(default=None, repr=False)

    def deposited(self, outcome: Outcome) -> Outcome:
        """The outcome, its outputs written to shared memory where the request wants them there."""
        if not self.places or isinstance(outcome, OipError):
            return outcome
        try:
            return deposit(outcome, self.places)
        except OipError as error:
            return error
