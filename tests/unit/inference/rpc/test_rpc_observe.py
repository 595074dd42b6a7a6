"""What is traced and logged of requests: over gRPC, its streams and REST, whatever becomes of them."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from structlog.testing import capture_logs

from headrace.contracts.oip import service_pb2 as pb
from headrace.contracts.oip import service_pb2_grpc
from headrace.runtime.tracing import Sampling
from headrace.runtime.tracing.spans import Tracing
from headrace.runtime.web import WebServer
from services.inference.rpc.control.operations import alone
from services.inference.rpc.grpc.server import GrpcServer
from services.inference.rpc.models.registry import Registry
from services.inference.rpc.observe.access_log import AccessLog
from services.inference.rpc.observe.observer import Observer
from services.inference.rpc.observe.report import Incoming
from services.inference.rpc.observe.spans import RequestSpans
from services.inference.rpc.rest.app import create_app
from services.inference.rpc.rest.infer import protocol_for
from tests.patience import WAIT_S, eventually
from tests.unit.inference.rpc.test_rpc_batching import World
from tests.unit.inference.rpc.test_rpc_raw_infer import message
from tests.unit.inference.rpc.test_rpc_rest_infer import BODY, INFER

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
UNSAMPLED = f"00-{TRACE}-{SPAN}-00"


def incoming() -> Incoming:
    return Incoming("grpc", "ModelInfer", "here:1", 3)


class Watched:
    """A data plane behind both transports, with the spans that were written."""

    def __init__(self, world: World, access_log: AccessLog | None, sampling: Sampling | None) -> None:
        self.world, self._exporter = world, InMemorySpanExporter()
        self.tracing = Tracing(sampling or Sampling("always_off"), SimpleSpanProcessor(self._exporter), {})
        spans = None if sampling is None else RequestSpans(self.tracing)
        self.observer = Observer(spans, access_log)
        models = Registry([world.plane])
        app = create_app(models, alone(models), observer=self.observer)
        lean = protocol_for(models, self.observer)
        self.web = WebServer(app, "127.0.0.1", 0, grace_s=1.0, protocol=lean, edge=None)
        self.grpc = GrpcServer(
            Registry([world.plane]), alone(Registry([world.plane])), "127.0.0.1", 0, observer=self.observer
        )

    @property
    def spans(self) -> list[Any]:
        return list(self._exporter.get_finished_spans())

    async def one(self) -> Any:
        """The span of the one request, once it is written; the exporter has it last."""
        await eventually(lambda: any(span.kind is SpanKind.SERVER for span in self.spans))
        [span] = [span for span in self.spans if span.kind is SpanKind.SERVER]
        return span


@asynccontextmanager
async def watched(access_log: AccessLog | None = None, sampling: Sampling | None = None) -> AsyncIterator[Watched]:
    made = Watched(World(), access_log, sampling)
    await made.grpc.start()
    serving = asyncio.create_task(made.web.serve())
    await eventually(lambda: made.web._server.started)
    try:
        yield made
    finally:
        made.web.stop()
        await serving
        await made.grpc.stop(1.0)
        made.world.plane.close()


async def by_rest(one: Watched, body: Any = BODY, path: str = INFER, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=WAIT_S) as client:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.post(one.web.url + path, content=json.dumps(body), headers=named)


async def by_framework(one: Watched, body: Any = BODY, **headers: str) -> httpx.Response:
    return await by_rest(one, body, INFER + "?plain=no", **headers)


async def by_grpc(one: Watched, request: bytes = message(1), **headers: str) -> Any:
    async with grpc.aio.insecure_channel(one.grpc.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        metadata = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return await stub.ModelInfer(pb.ModelInferRequest.FromString(request), metadata=metadata, timeout=WAIT_S)


async def by_stream(one: Watched, request: bytes = message(1), **headers: str) -> Any:
    async with grpc.aio.insecure_channel(one.grpc.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        metadata = [(name.replace("_", "-"), value) for name, value in headers.items()]
        call = stub.ModelStreamInfer(iter([pb.ModelInferRequest.FromString(request)]), metadata=metadata)
        return [answer async for answer in call][0]  # noqa: RUF015 - asynchronous


WAYS: list[tuple[Callable[..., Any], str, str | int]] = [
    (by_rest, "rest", 200),
    (by_framework, "rest", 200),
    (by_grpc, "grpc", "OK"),
    (by_stream, "grpc", "OK"),
]
IDS = ["rest", "framework", "grpc", "stream"]


@pytest.mark.parametrize(("ask", "transport", "status"), WAYS, ids=IDS)
async def test_a_request_has_a_span_in_its_callers_trace_with_queue_and_compute_below(
    ask: Callable[..., Any], transport: str, status: str | int
) -> None:
    async with watched(sampling=Sampling()) as one:
        await ask(one, traceparent=TRACEPARENT, tracestate="vendor=1", x_request_id="r-9")
        span = await one.one()

    said = dict(span.attributes)
    assert (span.name, span.status.status_code) == ("infer parts", StatusCode.UNSET)
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, SPAN)
    assert span.context.trace_state.get("vendor") == "1"
    assert (said["headrace.model"], said["headrace.version"], said["headrace.transport"]) == ("parts", "1", transport)
    assert (said["headrace.events"], said["client.address"], said["headrace.request_id"]) == (1, "127.0.0.1", "r-9")
    assert said["headrace.request_bytes"] > 50
    assert said["headrace.response_bytes"] > 50
    code = said["http.response.status_code" if transport == "rest" else "rpc.response.status_code"]
    assert code == status
    queue, compute = sorted((s for s in one.spans if s.kind is SpanKind.INTERNAL), key=lambda s: s.start_time)
    assert (queue.name, compute.name) == ("queue", "compute")
    assert {queue.parent.span_id, compute.parent.span_id} == {span.context.span_id}
    assert span.start_time <= queue.start_time <= queue.end_time == compute.start_time
    assert compute.start_time < compute.end_time <= span.end_time
    assert compute.attributes["headrace.batch_events"] == 1
    assert compute.attributes["headrace.compute_infer_ns"] > 0


@pytest.mark.parametrize(("ask", "transport", "status"), WAYS, ids=IDS)
async def test_a_request_whose_caller_is_not_sampled_is_answered_and_has_no_span(
    ask: Callable[..., Any], transport: str, status: str | int
) -> None:
    async with watched(sampling=Sampling()) as one:
        await ask(one, traceparent=UNSAMPLED)
        assert one.world.plane.statistics.success.count == 1
        assert one.observer.begin(lambda name: UNSAMPLED if name == "traceparent" else "", incoming) is None
    assert one.spans == []


async def test_an_error_of_the_server_is_one_on_the_span_and_a_callers_is_none() -> None:
    wrong = {**BODY, "inputs": [{**BODY["inputs"][0], "shape": [2, 1]}, BODY["inputs"][1]]}
    note = {"name": "note", "datatype": "BYTES", "shape": [1, 1], "data": ["explode"]}
    for ask in (by_rest, by_framework):
        for body, code, level in (
            (wrong, 400, StatusCode.UNSET),
            ({"inputs": [*BODY["inputs"], note]}, 500, StatusCode.ERROR),
        ):
            async with watched(sampling=Sampling()) as one:
                assert (await ask(one, body)).status_code == code
                span = await one.one()
            assert span.status.status_code is level
            said = dict(span.attributes)
            assert (said["http.response.status_code"], said["error.type"]) == (code, str(code))
            assert (said["headrace.model"], span.parent) == ("parts", None)
            assert said["headrace.error"]


async def test_a_message_that_does_not_parse_is_reported_too() -> None:
    async with watched(AccessLog(1.0, 0)) as one, grpc.aio.insecure_channel(one.grpc.address) as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with capture_logs() as lines:
            with pytest.raises(grpc.aio.AioRpcError):
                await method(b"\xff\xff", timeout=WAIT_S)
            await eventually(lambda: bool(access(lines)))
    assert access(lines)[0]["status"] == "INTERNAL"


def access(lines: Any) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == "request"]


@pytest.mark.parametrize(("ask", "transport", "status"), WAYS, ids=IDS)
async def test_a_line_of_the_access_log_says_who_asked_what_and_how_long_it_took(
    ask: Callable[..., Any], transport: str, status: str | int
) -> None:
    async with watched(AccessLog(1.0, 0), Sampling()) as one:
        with capture_logs() as lines:
            await ask(one, traceparent=TRACEPARENT, x_request_id="r-1")
            await eventually(lambda: bool(access(lines)))
    [line] = access(lines)
    method = "POST /v2/models/{model}/infer" if transport == "rest" else "Model"
    assert line["method"].startswith(method)
    assert (line["transport"], line["model"], line["version"], line["status"]) == (transport, "parts", "1", status)
    assert (line["request_id"], line["trace_id"], line["events"], line["log_level"]) == ("r-1", TRACE, 1, "info")
    assert line["peer"].startswith("127.0.0.1:")
    assert line["received_bytes"] > 50
    assert line["sent_bytes"] > 50
    assert 0 < line["compute_infer_ms"] < line["total_ms"]
    assert line["queue_ms"] < line["total_ms"]


@pytest.mark.parametrize(("ask", "status"), [(by_rest, 404), (by_framework, 404), (by_grpc, 5), (by_stream, 5)])
async def test_what_fails_is_logged_where_nothing_else_is(ask: Callable[..., Any], status: int) -> None:
    async with watched(AccessLog(0.0, 100)) as one:
        with capture_logs() as lines:
            await ask(one)
            if ask in (by_rest, by_framework):
                await by_rest(one, path=INFER.replace("parts", "nope") + ("?x" if ask is by_framework else ""))
            elif ask is by_stream:
                await by_stream(one, message(1, model="nope", identifier="r-2"))
            else:
                with pytest.raises(grpc.aio.AioRpcError):
                    await by_grpc(one, message(1, model="nope", identifier="r-2"))
            await eventually(lambda: bool(access(lines)))
    [line] = access(lines)
    assert line["log_level"] == "warning"
    assert line["status"] == (404 if status == 404 else "NOT_FOUND")
    assert line["model"] == "nope"
    assert line["request_id"] == ("" if status == 404 else "r-2")
    assert "unknown model: 'nope'" in line["error"]


@pytest.mark.parametrize(("ask", "error"), [(by_rest, 404), (by_grpc, "NOT_FOUND")])
async def test_what_a_caller_sent_is_bounded_and_escaped(ask: Callable[..., Any], error: str | int) -> None:
    async with watched(AccessLog(1.0, 0)) as one:
        with capture_logs() as lines:
            if ask is by_rest:
                await by_rest(one, {**BODY, "id": "\x1b[31m" + "x" * 9000})
                await by_rest(one, path=INFER.replace("parts", "n" * 9000))
            else:
                await by_grpc(one, message(1, identifier="\x1b[31m" + "x" * 9000))
                with pytest.raises(grpc.aio.AioRpcError):
                    await by_grpc(one, message(1, model="n" * 9000))
            await eventually(lambda: len(access(lines)) == 2)
    good, bad = access(lines)
    assert good["request_id"].startswith("\\x1b[31mxxx")
    assert bad["status"] == error
    assert max(len(good["request_id"]), len(bad["model"]), len(bad["error"])) < 600


async def test_a_caller_that_goes_away_is_told_of_by_its_transports_status() -> None:
    async with watched(AccessLog(0.0, 100)) as one:
        one.world.model.gate = threading.Event()
        with capture_logs() as lines:
            first = asyncio.create_task(by_grpc(one))
            await asyncio.to_thread(one.world.model.entered.wait, WAIT_S)
            for ask in (by_rest, by_grpc, by_stream):
                leaving = asyncio.create_task(ask(one))
                await eventually(lambda: one.world.plane.waiting == 1)
                leaving.cancel()
                await eventually(lambda: one.world.plane.waiting == 0)
            one.world.model.gate.set()
            await first
            await eventually(lambda: len(access(lines)) == 3)
    assert [line["status"] for line in access(lines)] == [499, "CANCELLED", "CANCELLED"]


def test_failures_are_logged_at_most_so_often_and_those_left_out_are_counted() -> None:
    now = 0.0
    log = AccessLog(0.0, 2, clock=lambda: now)
    observer = Observer(None, log)

    def fail() -> None:
        seen = observer.begin(lambda _: "", incoming)
        assert seen is not None
        seen.failed("broken", "INTERNAL")

    with capture_logs() as lines:
        for _ in range(10):
            fail()
        now = 0.5
        for _ in range(3):
            fail()
    assert [line.get("errors_left_out") for line in access(lines)] == [None, None, 8]


async def test_where_nobody_looks_nothing_is_made() -> None:
    async with watched(sampling=Sampling("always_off")) as one:
        begun = one.observer.begin(lambda _: "", incoming)
    assert begun is None


async def test_a_report_that_fails_fails_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(AccessLog, "write", fails)
    async with watched(AccessLog(1.0, 0)) as one:
        with capture_logs() as lines:
            assert (await by_rest(one)).status_code == 200
            await by_grpc(one)
            await eventually(lambda: len(lines) == 2)
    assert {line["event"] for line in lines} == {"a request could not be reported"}
