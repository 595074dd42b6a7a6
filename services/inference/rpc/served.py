"""What the registry and the transports need of a model, whatever computes its answers.

All methods belong to the event loop's thread. None may keep it: what takes long runs in threads of the model's own, so
that a model that is slow, raises or never returns costs the others nothing.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from services.inference.oip.kinds import TensorSpec
from services.inference.oip.layout import Table
from services.inference.oip.messages import InferAnswer, InferRequest, OipError
from services.inference.oip.plain_json import PlainJson
from services.inference.rpc.batching.jobs import Job, Outcome
from services.inference.rpc.statistics import Statistics

Deliver = Callable[[Outcome], None]
"""Gets the answer or the error of a request, once, on the event loop's thread."""


class Served(Protocol):
    """One model by its name on the protocol.

    Attributes:
        name: unique in the server.
        statistics: what its requests and executions cost, for metrics.
        inputs: the tensors that a request has.
        json_outputs: the outputs whose elements are JSON.
        plain_json: reads the usual JSON inputs of REST fast; None has `submit` given them as tensors.
        repeats: answers requests that differ from an earlier one in data and id alone; None where it cannot.
        required: whether the server is ready only while this model is, if it is loaded.
    """

    name: str
    statistics: Statistics
    inputs: list[TensorSpec]
    json_outputs: frozenset[str]
    plain_json: PlainJson | None
    required: bool

    @property
    def repeats(self) -> "Repeats | None":
        """See the class."""
        ...

    @property
    def loaded(self) -> bool:
        """Whether requests are admitted; `load` and `unload` change it."""
        ...

    @property
    def available(self) -> bool:
        """Whether a version is there to answer with."""
        ...

    @property
    def reason(self) -> str:
        """Why it is not ready; "" while it is. A model that is not ready may answer all the same."""
        ...

    def model_ready(self, version: str = "") -> bool:
        """Whether it is loaded, has this version ("" for the one that answers) and is ready.

        Raises:
            InvalidRequest: `version` is none.
        """
        ...

    def metadata(self, version: str = "") -> dict[str, Any]:
        """A ModelMetadataResponse, in plain values.

        Raises:
            NotFound, InvalidRequest: no such version, or it is not loaded.
        """
        ...

    def config(self, version: str = "") -> dict[str, Any]:
        """A ModelConfig; errors as `metadata`."""
        ...

    def model_statistics(self, version: str = "") -> list[dict[str, Any]]:
        """A ModelStatistics of each version that is counted apart; none where it is not loaded.

        Raises:
            NotFound, InvalidRequest: no such version.
        """
        ...

    def index(self) -> list[dict[str, Any]]:
        """Its ModelIndex entries, one a version; one with a reason where it is not ready."""
        ...

    async def load(self, parameters: Mapping[str, Any]) -> None:
        """Admit requests (again); returns once it is loaded.

        Raises:
            InvalidRequest: another configuration is asked for.
            OipError: it cannot be loaded.
        """
        ...

    async def unload(self) -> None:
        """Admit no more requests, until `load`; those in hand are answered."""
        ...

    def submit(self, request: InferRequest, deliver: Deliver, peer: str = "") -> Job:
        """Have a request answered, later: `deliver` is called once, unless `cancel` is called before.

        Raises:
            OipError: the request is refused; then `deliver` is not called.
        """
        ...

    def cancel(self, job: Job) -> None:
        """Nobody wants the answer of a job that `submit` gave; it is not delivered any more."""
        ...

    async def start(self) -> None:
        """Begin: what it needs from elsewhere is waited for in the background."""
        ...

    async def stop(self) -> None:
        """Refuse what waits, finish what is in hand within a few seconds, and let everything go."""
        ...


class Repeats(Protocol):
    """What makes a request over gRPC that is like an earlier one cheap: it is neither parsed nor checked again."""

    def order(self, names: Sequence[str]) -> list[int]:
        """In which order inputs of these names stand in a table."""
        ...

    def resubmit(self, request: InferRequest, table: Table, deliver: Deliver, identifier: str, peer: str) -> Job:
        """As `Served.submit`, of a request that was admitted once, but for its data and id.

        Raises:
            OipError: it is refused.
        """
        ...


class Attaching(Protocol):
    """Wants a request's job once it is admitted."""

    def attach(self, job: Job) -> None:
        """The request is this job."""
        ...


async def infer(served: Served, request: InferRequest, peer: str = "", seen: Attaching | None = None) -> InferAnswer:
    """Submit a request and wait for its answer. A caller that is cancelled meanwhile wants no answer any more.

    Raises:
        OipError: what was wrong, with the status codes to answer with.
    """
    answered: asyncio.Future[InferAnswer] = asyncio.get_running_loop().create_future()

    def deliver(outcome: Outcome) -> None:
        if answered.done():
            return
        if isinstance(outcome, OipError):
            answered.set_exception(outcome)
        else:
            answered.set_result(outcome)

    job = served.submit(request, deliver, peer)
    if seen is not None:
        seen.attach(job)
    try:
        return await answered
    except asyncio.CancelledError:
        served.cancel(job)
        raise
