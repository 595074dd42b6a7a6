"""One ModelStreamInfer call: requests of a stream are executed as all others are, several at a time.

- Answers come in the order of their requests, as Triton gives them for models that are not decoupled.
- A request that fails is answered by `error_message` with its id, and the stream goes on.
- At most `in_flight` requests are executed or wait to be sent. Beyond, no more are read, so that the caller's flow
  control stops it; the same happens while it does not read its answers.
- When the caller has sent its last request, those in hand are answered and the call ends. When it cancels, they are
  cancelled.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from headrace.contracts.oip import service_pb2 as pb
from services.inference.oip.grpc_codec import parse_infer, render_answer
from services.inference.oip.messages import OipError
from services.inference.rpc.batching.jobs import Job, Outcome
from services.inference.rpc.models.registry import Registry
from services.inference.rpc.observe.observer import Seen
from services.inference.rpc.served import Served

IN_FLIGHT = 64

Write = Callable[[pb.ModelStreamInferResponse], Awaitable[None]]
Begin = Callable[[pb.ModelInferRequest], Seen | None]


class _Request:
    """One request of the stream. `job`, and whose it is, is there while it is executed; `outcome` is done at last."""

    def __init__(self, identifier: str, seen: Seen | None) -> None:
        self.id, self.seen = identifier, seen
        self.job: tuple[Served, Job] | None = None
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def deliver(self, outcome: Outcome) -> None:
        """Take the outcome."""
        self.job = None
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class InferStream:
    """See the module.

    Args:
        models: execute the requests.
        peer: whose they are.
        write: sends an answer, and returns when the next may be sent.
        begin: shows a request to those who look at it.
        in_flight: requests at a time.
    """

    def __init__(
        self, models: Registry, peer: str, write: Write, *, begin: Begin | None = None, in_flight: int = IN_FLIGHT
    ) -> None:
        self._models, self._peer, self._write, self._begin = models, peer, write, begin
        self._slots = asyncio.Semaphore(in_flight)
        self._requests: asyncio.Queue[_Request | None] = asyncio.Queue()
        self._unanswered: set[_Request] = set()

    async def run(self, requests: AsyncIterator[pb.ModelInferRequest]) -> None:
        """Answer all requests. Whatever ends this early cancels those in hand."""
        reading = asyncio.create_task(self._read(requests))
        try:
            while (request := await self._requests.get()) is not None:
                outcome = await request.outcome
                response = _response(request.id, outcome)
                await self._write(response)
                self._unanswered.discard(request)
                if request.seen is not None:
                    status = outcome.grpc if isinstance(outcome, OipError) else "OK"
                    request.seen.answered(outcome, status, response.ByteSize())
                self._slots.release()
            await reading
        finally:
            reading.cancel()
            for request in self._unanswered:
                if request.job is not None:
                    served, job = request.job
                    served.cancel(job)
                if request.seen is not None:
                    request.seen.cancelled("CANCELLED")

    async def _read(self, requests: AsyncIterator[pb.ModelInferRequest]) -> None:
        try:
            await self._slots.acquire()
            async for message in requests:
                self._submit(message)
                await self._slots.acquire()
        finally:
            self._requests.put_nowait(None)

    def _submit(self, message: pb.ModelInferRequest) -> None:
        request = _Request(message.id, self._begin(message) if self._begin is not None else None)
        self._unanswered.add(request)
        try:
            parsed = parse_infer(message, self._models.regions)
            request.job = self._models.submit(parsed, request.deliver, self._peer)
            if request.seen is not None:
                request.seen.attach(request.job[1])
        except OipError as error:
            request.deliver(error)
        self._requests.put_nowait(request)


def _response(identifier: str, outcome: Outcome) -> pb.ModelStreamInferResponse:
    if isinstance(outcome, OipError):
        answer = pb.ModelStreamInferResponse(error_message=str(outcome))
        answer.infer_response.id = identifier
    else:
        answer = pb.ModelStreamInferResponse(infer_response=render_answer(outcome))
    answer.infer_response.parameters["triton_final_response"].bool_param = True
    return answer
