"""Spans as they are written, and which environment writes any."""

from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from structlog.testing import capture_logs

from headrace.runtime.tracing import Sampling, TraceContext, start_tracing
from headrace.runtime.tracing.spans import Span, Tracing

CALLER = TraceContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, state="vendor=1")


def written(span: Span, place: TraceContext) -> list[Any]:
    exporter = InMemorySpanExporter()
    tracing = Tracing(Sampling(), SimpleSpanProcessor(exporter), {"service.name": "here"})
    tracing.write(span, place)
    tracing.close()
    return list(exporter.get_finished_spans())


def test_a_span_joins_its_callers_trace_and_has_its_children_below_it() -> None:
    child = Span("queue", 15, 20)
    span = Span("infer", 10, 30, "server", {"a": 1}, "it broke", (TraceContext(7, 8, sampled=False),), (child,))
    below, above = written(span, CALLER)

    assert (above.name, above.kind, above.start_time, above.end_time) == ("infer", SpanKind.SERVER, 10, 30)
    assert (above.context.trace_id, above.parent.span_id) == (CALLER.trace_id, CALLER.span_id)
    assert above.parent.is_remote
    assert above.context.trace_state.get("vendor") == "1"
    assert (dict(above.attributes), above.status.status_code) == ({"a": 1}, StatusCode.ERROR)
    assert [(link.context.trace_id, link.context.span_id) for link in above.links] == [(7, 8)]
    assert above.resource.attributes["service.name"] == "here"
    assert (below.name, below.start_time, below.end_time) == ("queue", 15, 20)
    assert (below.context.trace_id, below.parent.span_id) == (CALLER.trace_id, above.context.span_id)


def test_a_trace_without_a_caller_has_the_id_by_which_it_was_sampled() -> None:
    [span] = written(Span("infer", 1, 2), TraceContext(99))
    assert (span.context.trace_id, span.parent) == (99, None)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_nothing_is_traced_where_nobody_asks_for_it(environ: dict[str, str]) -> None:
    with capture_logs() as lines:
        assert start_tracing("rpc", "rpc-1", environ) is None
    assert lines == []


@pytest.mark.parametrize(
    "wrong", [{"OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"}, {"OTEL_TRACES_EXPORTER": "zipkin"}]
)
def test_what_is_not_supported_is_logged_and_stops_nothing(wrong: dict[str, str]) -> None:
    with capture_logs() as lines:
        assert start_tracing("rpc", "rpc-1", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", **wrong}) is None
    assert [line["log_level"] for line in lines] == ["warning"]


def test_a_missing_package_is_logged_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace.export", None)
    with capture_logs() as lines:
        assert start_tracing("rpc", "rpc-1", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}) is None
    assert lines[0]["hint"] == "pip install headrace[otel]"


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_process_says_who_it_is_unless_its_environment_does(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=mine",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    tracing = start_tracing("rpc", "rpc-1", environ)
    assert tracing is not None
    said = tracing._provider.resource.attributes
    assert (said["service.name"], said["service.instance.id"]) == ("headrace-rpc", "mine")
    tracing.close()
