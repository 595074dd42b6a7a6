"""What is known of one request when it is over."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from headrace.runtime.tracing import TraceContext
from services.inference.rpc.statistics import Execution

MOST_SHOWN = 512
"""Characters of a text that a caller sent, or that an error has of it."""


def shown(text: str) -> str:
    """A caller's text as it may be written into a log: bounded, and control characters escaped."""
    if len(text) > MOST_SHOWN:
        text = f"{text[:MOST_SHOWN]}... ({len(text)} characters)"
    return text if text.isprintable() else repr(text)[1:-1]


class Incoming(NamedTuple):
    """A request as it came.

    Attributes:
        transport: grpc or rest.
        method: as the transport names it.
        peer: host:port of the caller.
        received: bytes of the message or body.
        model, version, id: as it names them; "" where it does not.
    """

    transport: str
    method: str
    peer: str
    received: int
    model: str = ""
    version: str = ""
    id: str = ""


@dataclass(slots=True)
class Report:
    """A request that was answered, refused or given up by its caller.

    Attributes:
        incoming: the request.
        model, version, checkpoint: whose answer it is; as the request names them where there is none.
        request_id: the protocol's, else the header x-request-id.
        status: a status code of gRPC by name, or of HTTP.
        error: what was wrong; "" for an answer.
        ours: whether the error is the server's and not the caller's.
        sent: bytes of the answer's message or body.
        started, ended: when it was whole, and when its answer was written; by `time.perf_counter_ns`.
        admitted: when it began to wait, 0 where it did not.
        events: its events.
        execution: what answered it; None where nothing was executed.
        place: where its span is in a trace; None where none is written.
    """

    incoming: Incoming
    model: str
    version: str
    checkpoint: str
    request_id: str
    status: str | int
    error: str
    ours: bool
    sent: int
    started: int
    ended: int
    admitted: int
    events: int
    execution: Execution | None
    place: TraceContext | None

    @property
    def queue_ns(self) -> int:
        """For how long it waited to be executed."""
        return self.execution.started - self.admitted if self.execution is not None else 0

    def stages(self) -> Mapping[str, int]:
        """Ns of each stage, by the statistics' names."""
        done = self.execution
        if done is None:
            return {}
        return {
            "queue": self.queue_ns,
            "compute_input": done.compute_input,
            "compute_infer": done.compute_infer,
            "compute_output": done.compute_output,
        }
