"""The process: not ready before weights, orderly stop, readable errors, metrics."""

import signal
import subprocess
import sys
from pathlib import Path

import grpc
import httpx
import pytest
import torch
import tritonclient.http
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.utils import InferenceServerException

from tests.integration.rpc.rpc_clients import TRIP, Client
from tests.integration.rpc.rpc_process import FOLDER, Served, start, stop
from tests.patience import WAIT_S


def test_without_weights_it_is_live_and_not_ready(tmp_path: Path) -> None:
    process, endpoints = start(tmp_path)
    try:
        rest = endpoints["rest"]
        assert httpx.get(f"{rest}/v2/health/live").status_code == 200
        assert httpx.get(f"{rest}/v2/health/ready").status_code == 400
        assert httpx.get(f"{rest}/v2/models/trips/ready").status_code == 400
        assert httpx.get(f"{rest}/v2/models/trips").json()["versions"] == []
        assert httpx.post(f"{rest}/v2/repository/index").json()[0]["state"] == "UNAVAILABLE"
        assert httpx.post(f"{rest}/v2/repository/index", json={"ready": True}).json() == []
        ready = httpx.get(f"{endpoints['ops']}/readyz")
        assert (ready.status_code, ready.json()["checks"]["weights"]["ok"]) == (503, False)
        for kind, status in (("http", "503"), ("grpc", "StatusCode.UNAVAILABLE")):
            client = Client(kind, rest.removeprefix("http://"), endpoints["grpc"])
            assert client.is_server_live()
            assert not client.is_server_ready()
            with pytest.raises(InferenceServerException) as raised:
                client.predict([TRIP])
            assert raised.value.status() == status
            client.close()
    finally:
        assert stop(process) == 0


def test_it_is_ready_with_weights_and_says_so_everywhere(served: Served) -> None:
    assert httpx.get(f"{served.endpoints['ops']}/readyz").status_code == 200
    with grpc.insecure_channel(served.grpc) as channel:
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
        watching.cancel()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_and_withdraws_its_endpoints(tmp_path: Path, number: signal.Signals) -> None:
    process, _ = start(tmp_path)

    process.send_signal(number)

    assert process.wait(WAIT_S) == 0
    assert list((tmp_path / "endpoints").iterdir()) == []


def test_a_taken_port_is_a_readable_error(served: Served, tmp_path: Path) -> None:
    port = served.http.rpartition(":")[2]
    command = [sys.executable, "-m", "services.inference.rpc", "--pipeline", str(FOLDER), "--rest-port", port]
    ended = subprocess.run(
        [*command, "--run-dir", str(tmp_path)], capture_output=True, text=True, timeout=WAIT_S, check=False
    )

    assert ended.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("flags", [(), ("--workers=2",)], ids=["one process", "two workers"])
def test_a_gpu_that_is_not_there_is_a_readable_error(tmp_path: Path, flags: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "services.inference.rpc", "--pipeline", str(FOLDER), "--device", "cuda:1", *flags]
    ended = subprocess.run(
        [*command, "--run-dir", str(tmp_path)], capture_output=True, text=True, timeout=WAIT_S, check=False
    )

    assert ended.returncode == 2
    assert "--device cuda:1" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_metrics_have_the_protocols_names_and_ours(served: Served) -> None:
    client = tritonclient.http.InferenceServerClient(served.http)
    maker = Client("http", served.http, served.grpc)

    def scrape() -> dict[str, float]:
        text = httpx.get(f"{served.endpoints['ops']}/metrics").text
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
        return {s.name: s.value for s in samples if s.labels.get("model") == "trips" and "le" not in s.labels}

    before = scrape()
    client.infer("trips", maker.inputs([TRIP] * 3))
    after = scrape()
    client.close()
    maker.close()

    assert after["nv_inference_request_success"] - before["nv_inference_request_success"] == 1
    assert after["nv_inference_count"] - before["nv_inference_count"] == 3
    assert after["nv_inference_exec_count"] - before["nv_inference_exec_count"] == 1
    durations = ("request", "queue", "compute_input", "compute_infer", "compute_output")
    assert {f"nv_inference_{name}_duration_us" for name in durations} <= set(after)
    rise = after["headrace_inference_request_seconds_count"] - before["headrace_inference_request_seconds_count"]
    assert rise == 1
