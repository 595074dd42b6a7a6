"""A span for each committed round in which a sampled event was predicted, with a link to each such event's trace.

A round has events of many callers, so it is a trace of its own, as OpenTelemetry has it for batches. It costs rounds
without headers two comparisons, and those with headers of callers that are not sampled a comparison a record.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from headrace.contracts.topics import EVENTS
from headrace.runtime.logging import get_logger
from headrace.runtime.tracing import TraceContext
from headrace.streams.chunks import Chunk
from headrace.streams.delivery import Output

if TYPE_CHECKING:
    from headrace.runtime.tracing.spans import Span, Tracing

log = get_logger("headrace.stream")

MOST_LINKS = 128
"""OpenTelemetry keeps no more by default."""
_UNSAMPLED = b"-00"

Process = Callable[[Sequence[Chunk]], Output]


class _Round(NamedTuple):
    """A round that was worked out; times are ns since the epoch."""

    output: Output
    started: int
    processed: int
    version: int


class RoundSpans:
    """Notes when a round was worked out, and writes its span once it is committed.

    Args:
        tracing: samples and writes.
        pipeline: its name.
        version: the champion's in the newest round.
    """

    def __init__(self, tracing: "Tracing", pipeline: str, version: Callable[[], int]) -> None:
        self._tracing, self._pipeline, self._version = tracing, pipeline, version
        self._rounds: list[_Round] = []

    def around(self, process: Process) -> Process:
        """The same, noted."""

        def noted(chunks: Sequence[Chunk]) -> Output:
            started = time.time_ns()
            output = process(chunks)
            self._rounds.append(_Round(output, started, time.time_ns(), self._version()))
            return output

        return noted

    def delivered(self, output: Output) -> None:
        """A round is durable; those before it that never were are forgotten. Raises nothing."""
        ended = time.time_ns()
        try:
            while self._rounds:
                found = self._rounds.pop(0)
                if found.output is output:
                    self._write(found, ended)
                    return
        except Exception:
            log.exception("a round's span could not be written")

    def close(self) -> None:
        """Send what was written; blocks."""
        self._tracing.close()

    def _write(self, found: _Round, ended: int) -> None:
        links = list(islice(self._sampled(found.output), MOST_LINKS))
        if links:
            self._tracing.write(self._span(found, links, ended))

    def _sampled(self, output: Output) -> Iterator[TraceContext]:
        """The places of the sampled events of which a prediction is served."""
        decide = self._tracing.sampling.decide
        follows = self._tracing.sampling.follows_caller
        for headers in (headers for batch in output.batches for headers in batch.headers or ()):
            value = headers[0][1] if headers else None
            if value and not (follows and value.endswith(_UNSAMPLED)):
                place = decide(value.decode("latin-1"))
                if place is not None and place.span_id:
                    yield place

    def _span(self, found: _Round, links: list[TraceContext], ended: int) -> "Span":
        from headrace.runtime.tracing.spans import Span

        output, started, processed, version = found
        offsets = (f"{partition.partition}:{offset}" for partition, offset in sorted(output.offsets.items()))
        topic = EVENTS.name(self._pipeline)
        return Span(
            f"predict {topic}",
            started,
            ended,
            "consumer",
            {
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.destination.name": topic,
                "messaging.batch.message_count": output.records,
                "headrace.model": self._pipeline,
                "headrace.version": str(version),
                "headrace.chunks": output.chunks,
                "headrace.dead_letters": output.dead,
                "headrace.next_offsets": " ".join(offsets),
            },
            links=links,
            children=[Span("compute", started, processed), Span("commit", processed, ended)],
        )
