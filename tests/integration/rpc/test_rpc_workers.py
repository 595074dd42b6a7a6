"""Several processes on one pair of ports: load, death, drain, metrics."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families
from safetensors.torch import save_file
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from headrace.model.pipeline import load_pipeline
from headrace.runtime.endpoints import read_endpoints
from tests.integration.rpc.rpc_clients import DATATYPES, TRIP, Client
from tests.integration.rpc.rpc_process import FOLDER, start, stop
from tests.patience import WAIT_S, wait_for

AT_ONCE_S = 20.0
"""What a busy machine may take to tell a client that its connection is closed; its timeout is two minutes."""


class Server:
    """A role of two workers, ready."""

    def __init__(self, folder: Path, *flags: str) -> None:
        torch.manual_seed(7)
        network = load_pipeline(FOLDER).model.network().eval()
        save_file(network.state_dict(), folder / "weights.safetensors")
        self.folder = folder
        self.process, self.endpoints = start(
            folder, "--workers", "2", "--weights", str(folder / "weights.safetensors"), *flags
        )
        wait_for(self.ready)

    def ready(self) -> bool:
        return httpx.get(f"{self.endpoints['ops']}/readyz").status_code == 200

    def workers(self) -> dict[str, int]:
        return {one.instance: one.pid for one in read_endpoints(self.folder) if one.role == "rpc-worker"}

    def client(self, kind: str) -> Client:
        return Client(kind, self.endpoints["rest"].removeprefix("http://"), self.endpoints["grpc"])

    def metrics(self) -> dict[str, float]:
        text = httpx.get(f"{self.endpoints['ops']}/metrics", timeout=WAIT_S).text
        families = list(text_string_to_metric_families(text))
        assert len({f.name for f in families}) == len(families), "a family is exposed twice"
        return {json.dumps([s.name, s.labels], sort_keys=True): s.value for f in families for s in f.samples}

    def count(self, name: str) -> float:
        return self.metrics().get(json.dumps([name, {"model": "trips"}], sort_keys=True), 0.0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    one = Server(tmp_path)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            stop(one.process)


class Caller(threading.Thread):
    """Asks over one connection until it fails or is told to end."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.answers, self.error = 0, ""
        own = [("grpc.use_local_subchannel_pool", 1)]  # else all callers of this process share one connection
        self._client = InferenceServerClient(server.endpoints["grpc"], channel_args=own)
        maker = server.client("grpc")
        self._inputs, self._over = maker.inputs([TRIP]), threading.Event()
        maker.close()
        self.start()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self._client.infer("trips", self._inputs)
            except InferenceServerException as error:
                self.error = str(error.status())
                break
            self.answers += 1
        self._client.close()

    def stop(self) -> None:
        self._over.set()
        self.join(WAIT_S)
        assert not self.is_alive()


class RestCaller(threading.Thread):
    """Asks by REST over one connection until it fails or is told to end."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.answers, self.error, self.failed_after_s = 0, "", 0.0
        limits = httpx.Limits(max_connections=1)
        self._client = httpx.Client(base_url=server.endpoints["rest"], limits=limits, timeout=WAIT_S)
        inputs = [{"name": n, "datatype": DATATYPES[n], "shape": [1, 1], "data": [v]} for n, v in TRIP.items()]
        self._body, self._over = {"inputs": inputs}, threading.Event()
        self.start()

    def run(self) -> None:
        while not self._over.is_set():
            asked = time.monotonic()
            try:
                self._client.post("/v2/models/trips/infer", json=self._body).raise_for_status()
            except httpx.TransportError as error:
                self.error, self.failed_after_s = type(error).__name__, time.monotonic() - asked
                break
            self.answers += 1
        self._client.close()

    def stop(self) -> None:
        self._over.set()
        self.join(WAIT_S)
        assert not self.is_alive()


def ask_over_new_connections(server: Server, times: int) -> None:
    for _ in range(times):
        client = server.client("http")
        client.predict([TRIP])
        client.close()


def test_both_answer_on_one_pair_of_ports_and_the_metrics_are_their_sum(server: Server) -> None:
    ask_over_new_connections(server, 60)

    assert server.count("nv_inference_request_success") == 60
    each = [
        httpx.get(f"{one.endpoints['ops']}/metrics").text.count('nv_inference_request_success{model="trips"} 0.0')
        for one in read_endpoints(server.folder)
        if one.role == "rpc-worker"
    ]
    assert each == [0, 0], "both have answered some"
    assert [one.role for one in read_endpoints(server.folder) if "grpc" in one.endpoints and one.role == "rpc"] == [
        "rpc"
    ]


def test_one_that_is_killed_fails_its_own_requests_alone_and_is_started_again(server: Server) -> None:
    callers = [Caller(server) for _ in range(16)]
    rest = [RestCaller(server) for _ in range(16)]
    wait_for(lambda: all(one.answers for one in (*callers, *rest)))
    before = server.workers()
    victim = min(before)

    os.kill(before[victim], signal.SIGKILL)

    wait_for(lambda: server.workers().get(victim, before[victim]) != before[victim] and server.ready())
    ask_over_new_connections(server, 20)
    for one in (*callers, *rest):
        one.stop()
    failed = [one.error for one in callers if one.error]
    assert set(failed) == {"StatusCode.UNAVAILABLE"}
    assert 0 < len(failed) < len(callers)
    by_rest = [one for one in rest if one.error]
    assert {one.error for one in by_rest} <= {"ReadError", "WriteError", "RemoteProtocolError"}, "closed, not timed out"
    assert 0 < len(by_rest) < len(rest)
    assert max(one.failed_after_s for one in by_rest) < AT_ONCE_S
    survivor = max(before)
    assert server.workers()[survivor] == before[survivor]


def test_a_signal_ends_all_of_them_in_order(server: Server) -> None:
    pids = list(server.workers().values())

    assert stop(server.process) == 0

    assert list((server.folder / "endpoints").iterdir()) == []
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_requests_in_hand_are_answered_when_all_are_told_to_end(tmp_path: Path) -> None:
    server = Server(tmp_path, "--batch-max-delay-us", "500000")  # for as long each request waits for others
    callers = [Caller(server) for _ in range(8)]
    wait_for(lambda: all(one.answers for one in callers))
    answered = [one.answers for one in callers]  # and each has sent its next request

    assert stop(server.process) == 0

    for one in callers:
        one.join(WAIT_S)
    assert [one.answers > before for one, before in zip(callers, answered, strict=True)] == [True] * 8
    assert {one.error for one in callers} == {"StatusCode.UNAVAILABLE"}, "of a request that no one had taken"


def run(folder: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "services.inference.rpc", "--pipeline", str(FOLDER), "--workers", "2", *flags]
    return subprocess.run(
        [*command, "--run-dir", str(folder)], capture_output=True, text=True, timeout=WAIT_S, check=False
    )


def test_a_port_that_others_share_is_taken(server: Server, tmp_path: Path) -> None:
    port = server.endpoints["rest"].rpartition(":")[2]

    ended = run(tmp_path / "other", "--rest-port", port)

    assert ended.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_worker_that_cannot_start_ends_the_role_with_its_exit_code(tmp_path: Path) -> None:
    ended = run(tmp_path, "--weights", str(tmp_path / "none.safetensors"))

    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
