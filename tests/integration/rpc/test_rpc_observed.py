"""A process whose requests are traced to a collector, and logged."""

import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from safetensors.torch import save_file

from headrace.model.pipeline import load_pipeline
from tests.integration.rpc.rpc_clients import TRIP, Client
from tests.integration.rpc.rpc_process import FOLDER, start, stop
from tests.otlp_collector import collecting, plain
from tests.patience import wait_for

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
UNSAMPLED = {"traceparent": f"00-{TRACE}-{SPAN}-00"}


@pytest.fixture
def weights(tmp_path: Path) -> list[str]:
    save_file(load_pipeline(FOLDER).model.network().eval().state_dict(), tmp_path / "weights.safetensors")
    return ["--weights", str(tmp_path / "weights.safetensors")]


def ask(endpoints: dict[str, str], kind: str, headers: dict[str, str], **options: Any) -> None:
    client = Client(kind, endpoints["rest"].removeprefix("http://"), endpoints["grpc"])
    client.predict([TRIP, TRIP], headers=dict(headers), **options)  # the client over HTTP writes into them
    client.close()


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_requests_span_reaches_the_collector_in_its_callers_trace(
    protocol: str, tmp_path: Path, weights: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting(protocol) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        process, endpoints = start(tmp_path, *weights)
        try:
            for kind in ("http", "grpc"):
                ask(endpoints, kind, UNSAMPLED)
                ask(endpoints, kind, HEADERS)
            wait_for(lambda: len(collector.named("infer trips")) == 2)
            ask(endpoints, "grpc", {}, request_id="last")
        finally:
            assert stop(process) == 0

    spans = collector.named("infer trips")
    assert len(spans) == 3, "the last was sent at the end, and those of unsampled callers were not"
    assert [span.trace_id.hex() == TRACE for span in spans] == [True, True, False]
    assert [span.parent_span_id.hex() for span in spans] == [SPAN, SPAN, ""]
    assert [plain(span)["headrace.transport"] for span in spans] == ["rest", "grpc", "grpc"]
    assert plain(spans[2])["headrace.request_id"] == "last"
    for span in spans:
        said = plain(span)
        assert (said["headrace.model"], said["headrace.version"], said["headrace.events"]) == ("trips", "1", 2)
        below = [one.name for one in collector.spans if one.parent_span_id == span.span_id]
        assert sorted(below) == ["compute", "queue"]
    assert {r["service.name"] for r in collector.resources} == {"headrace-rpc"}
    assert {r["service.instance.id"] for r in collector.resources} == {"rpc-under-test"}


def test_what_is_traced_may_be_changed_by_the_protocols_settings(
    tmp_path: Path, weights: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting("grpc") as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        process, endpoints = start(tmp_path, *weights)
        try:
            for kind in ("http", "grpc"):
                client = Client(kind, endpoints["rest"].removeprefix("http://"), endpoints["grpc"])
                off = client.as_json(client.update_trace_settings("trips", {"trace_level": ["OFF"]}))
                client.predict([TRIP], request_id=f"{kind}-off")
                rate = client.as_json(client.update_trace_settings(settings={"trace_level": None, "trace_rate": "0"}))
                client.predict([TRIP], request_id=f"{kind}-none")
                again = client.as_json(client.update_trace_settings(settings={"trace_rate": None}))
                client.predict([TRIP], request_id=f"{kind}-again")
                client.close()
                for told, level, of in ((off, "OFF", "1"), (rate, "TIMESTAMPS", "0"), (again, "TIMESTAMPS", "1")):
                    settings = told.get("settings", told)
                    assert level in str(settings["trace_level"])
                    assert of in str(settings["trace_rate"])
        finally:
            assert stop(process) == 0
    identifiers = {plain(span)["headrace.request_id"] for span in collector.named("infer trips")}
    assert identifiers == {"http-again", "grpc-again"}


def test_a_collector_that_is_away_stops_neither_requests_nor_the_end(
    tmp_path: Path, weights: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        process, endpoints = start(tmp_path, *weights)
        try:
            for kind in ("http", "grpc"):
                ask(endpoints, kind, HEADERS)
        finally:
            assert stop(process) == 0
    log = (tmp_path / "rpc.log").read_text()
    assert "Traceback" not in log


def lines(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "rpc.log").read_text().splitlines()]
    return [line for line in found if line["event"] == "request"]


def test_a_share_of_the_requests_and_all_that_fail_are_lines_of_json(tmp_path: Path, weights: list[str]) -> None:
    process, endpoints = start(tmp_path, *weights, "--access-log-sample", "0.2", "--log-format", "json")
    try:
        for number in range(100):
            ask(endpoints, "http", {}, request_id=f"r{number}")
        answer = httpx.post(f"{endpoints['rest']}/v2/models/nope/infer", json={"inputs": []})
        assert answer.status_code == 404
    finally:
        assert stop(process) == 0
    *good, bad = lines(tmp_path)
    assert 2 <= len(good) <= 60
    assert {line["status"] for line in good} == {200}
    assert {line["request_id"] for line in good} <= {f"r{number}" for number in range(100)}
    assert (bad["status"], bad["model"], bad["level"]) == (404, "nope", "warning")


def test_there_is_no_access_log_unless_it_is_asked_for(tmp_path: Path, weights: list[str]) -> None:
    process, endpoints = start(tmp_path, *weights, "--log-format", "json")
    try:
        httpx.post(f"{endpoints['rest']}/v2/models/nope/infer", json={"inputs": []})
        ask(endpoints, "grpc", {})
    finally:
        assert stop(process) == 0
    assert lines(tmp_path) == []
