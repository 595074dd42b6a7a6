"""A request's span: in its caller's trace, with the version that answered, and queue and compute below it."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from headrace.runtime.tracing import TraceContext
from services.inference.rpc.observe.report import Report

if TYPE_CHECKING:
    from headrace.runtime.tracing.spans import Span, Tracing, Value


class RequestSpans:
    """Samples requests and writes the spans of those that are."""

    def __init__(self, tracing: "Tracing") -> None:
        self._tracing = tracing
        self.sampling = tracing.sampling

    def place(self, header: Callable[[str], str]) -> TraceContext | None:
        """Where a request with these headers stands in a trace; None where it is not sampled."""
        place = self.sampling.decide(header("traceparent"))
        if place is not None and place.span_id and (state := header("tracestate")):
            place = replace(place, state=state)
        return place

    def write(self, report: Report) -> None:
        """Write the spans of a request that `place` has placed."""
        if report.place is not None:
            self._tracing.write(span_of(report, time.time_ns() - time.perf_counter_ns()), report.place)


def span_of(report: Report, epoch_ns: int) -> "Span":
    """A request's span and those below it; `epoch_ns` is when `time.perf_counter_ns` was 0, since the epoch."""
    from headrace.runtime.tracing.spans import Span

    children = []
    if (done := report.execution) is not None:
        began = epoch_ns + done.started
        stages: dict[str, Value] = {f"headrace.{stage}_ns": ns for stage, ns in report.stages().items()}
        del stages["headrace.queue_ns"]
        computed = began + done.compute_input + done.compute_infer + done.compute_output
        children = [
            Span("queue", epoch_ns + report.admitted, began),
            Span("compute", began, computed, attributes={"headrace.batch_events": done.events, **stages}),
        ]
    return Span(
        f"infer {report.model}".rstrip(),
        epoch_ns + report.started,
        epoch_ns + report.ended,
        "server",
        attributes(report),
        report.error if report.ours else "",
        children=children,
    )


def attributes(report: Report) -> "dict[str, Value]":
    """What is known of a request, by OpenTelemetry's names where it has some."""
    host, _, port = report.incoming.peer.rpartition(":")
    known: dict[str, Value] = {
        "headrace.transport": report.incoming.transport,
        "headrace.model": report.model,
        "headrace.version": report.version,
        "headrace.events": report.events,
        "headrace.request_bytes": report.incoming.received,
        "headrace.response_bytes": report.sent,
    }
    optional: dict[str, Value] = {
        "headrace.checkpoint": report.checkpoint,
        "headrace.request_id": report.request_id,
        "headrace.error": report.error,
        "client.address": host.strip("[]"),
    }
    known |= {name: value for name, value in optional.items() if value}
    if port.isdigit():
        known["client.port"] = int(port)
    if isinstance(report.status, int):
        known |= {"http.request.method": "POST", "http.response.status_code": report.status}
    else:
        known |= {
            "rpc.system.name": "grpc",
            "rpc.method": report.incoming.method,
            "rpc.response.status_code": report.status,
        }
    if report.error:
        known["error.type"] = str(report.status)
    return known
