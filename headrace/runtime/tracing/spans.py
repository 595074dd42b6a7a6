"""Writes spans, each as a whole once it is over."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from headrace import __version__
from headrace.runtime.logging import get_logger
from headrace.runtime.tracing.sampling import Sampling, TraceContext

log = get_logger("headrace.tracing")

Value = str | int | float | bool
_KINDS = {"server": SpanKind.SERVER, "consumer": SpanKind.CONSUMER, "internal": SpanKind.INTERNAL}


@dataclass(slots=True)
class Span:
    """A span that is over. Times are ns since the epoch; `error` is what went wrong, "" where nothing did.

    `links` are places in other traces that it has to do with.
    """

    name: str
    started_ns: int
    ended_ns: int
    kind: str = "internal"
    attributes: Mapping[str, Value] = field(default_factory=dict)
    error: str = ""
    links: Sequence[TraceContext] = ()
    children: Sequence["Span"] = ()


class _Ids(RandomIdGenerator):
    """Makes span ids, and gives a trace the id by which it was sampled."""

    chosen = 0

    def generate_trace_id(self) -> int:
        """The id of the next trace."""
        return self.chosen or super().generate_trace_id()


class Tracing:
    """Samples, and writes spans. Its methods belong to one thread.

    Args:
        sampling: decides what is traced.
        processor: takes each span that is over; another thread of it sends them.
        resource: what is said of this process.
    """

    def __init__(self, sampling: Sampling, processor: SpanProcessor, resource: Mapping[str, Value]) -> None:
        self.sampling = sampling
        self._ids = _Ids()
        self._provider = TracerProvider(
            ALWAYS_ON, Resource.create(resource), shutdown_on_exit=False, id_generator=self._ids
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("headrace", __version__)

    def write(self, span: Span, place: TraceContext | None = None) -> None:
        """Write a span and its children at this place in a trace; without one, in a trace of their own."""
        self._ids.chosen = 0 if place is None else place.trace_id
        self._write(span, Context() if place is None or not place.span_id else _within(place))

    def _write(self, span: Span, parent: Context) -> None:
        links = [trace.Link(_context(link)) for link in span.links]
        made = self._tracer.start_span(
            span.name, parent, _KINDS[span.kind], span.attributes, links, start_time=span.started_ns
        )
        if span.error:
            made.set_status(Status(StatusCode.ERROR, span.error))
        if span.children:
            within = trace.set_span_in_context(made, parent)
            for child in span.children:
                self._write(child, within)
        made.end(span.ended_ns)

    def close(self, seconds: float = 3.0) -> None:
        """Send what was written, and end; blocks for at most so many seconds, after which the rest is lost."""
        ending = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        ending.start()
        ending.join(seconds)
        if ending.is_alive():
            log.warning("the last spans could not be sent", waited_s=seconds)


def _within(place: TraceContext) -> Context:
    return trace.set_span_in_context(NonRecordingSpan(_context(place)), Context())


def _context(place: TraceContext) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if place.sampled else TraceFlags.DEFAULT)
    state = TraceState.from_header([place.state]) if place.state else None
    return SpanContext(place.trace_id, place.span_id, is_remote=True, trace_flags=flags, trace_state=state)
