"""A client of several workers sees one server: statistics, shared memory, load and unload, diagnostic settings."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException

from tests.integration.rpc.rpc_clients import TRIP
from tests.integration.rpc.rpc_process import stop
from tests.integration.rpc.test_rpc_workers import Server, ask_over_new_connections
from tests.patience import WAIT_S, wait_for

MANY = 12
"""New connections, of which both workers get some: the chance that one gets none is 2⁻¹¹."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("rpc"))
    try:
        yield one
    finally:
        assert stop(one.process) == 0


def get(server: Server, path: str) -> httpx.Response:
    """Over a connection of its own."""
    return httpx.get(f"{server.endpoints['rest']}{path}", timeout=WAIT_S)


def post(server: Server, path: str, body: object = None) -> httpx.Response:
    return httpx.post(f"{server.endpoints['rest']}{path}", json=body or {}, timeout=WAIT_S)


def everywhere(server: Server, path: str) -> set[str]:
    """What new connections are told, whichever worker they meet."""
    return {get(server, path).text for _ in range(MANY)}


def kill_one(server: Server) -> None:
    before = server.workers()
    victim = min(before)
    os.kill(before[victim], signal.SIGKILL)
    wait_for(lambda: server.workers().get(victim, before[victim]) != before[victim] and server.ready())


def test_statistics_count_every_request_whichever_worker_is_asked(server: Server) -> None:
    def counts() -> set[int]:
        found = set()
        for kind in ("http", "grpc"):
            for _ in range(MANY // 2):
                client = server.client(kind)
                answer = client.as_json(client.get_inference_statistics("trips"))
                found.add(int(answer["model_stats"][0]["inference_stats"]["success"].get("count", 0)))
                client.close()
        return found

    [before] = counts()
    ask_over_new_connections(server, 20)
    assert counts() == {before + 20}
    kill_one(server)
    assert counts() == {before + 20}, "those of the worker that died are counted"


def test_an_unknown_models_statistics_are_refused(server: Server) -> None:
    assert get(server, "/v2/models/nope/stats").status_code == 400


def test_a_model_is_unloaded_and_loaded_in_all_workers_and_in_those_that_start(server: Server) -> None:
    assert post(server, "/v2/repository/models/trips/unload").status_code == 200
    try:
        assert {get(server, "/v2/models/trips/ready").status_code for _ in range(MANY)} == {400}
        kill_one(server)
        assert {get(server, "/v2/models/trips/ready").status_code for _ in range(MANY)} == {400}
    finally:
        client = server.client("grpc")
        client.load_model("trips")
        client.close()
    assert {get(server, "/v2/models/trips/ready").status_code for _ in range(MANY)} == {200}


@pytest.fixture
def region() -> Iterator[tuple[str, object]]:
    name = f"headrace-test-{os.getpid()}"
    data = np.array([[TRIP["distance_km"]]])
    handle = shm.create_shared_memory_region("distances", name, data.nbytes)
    shm.set_shared_memory_region(handle, [data])
    yield name, data
    shm.destroy_shared_memory_region(handle)


def test_a_region_that_one_worker_registers_all_read(server: Server, region: tuple[str, np.ndarray]) -> None:
    name, data = region
    register = "/v2/systemsharedmemory/region/distances"
    answer = post(server, f"{register}/register", {"key": name, "offset": 0, "byte_size": data.nbytes})
    assert answer.status_code == 200, answer.text
    assert {post(server, f"{register}/register", {"key": name, "byte_size": 8}).status_code for _ in range(MANY)} == {
        409
    }

    def predict() -> float:
        client = server.client("http")  # each over a connection of its own
        inputs = client.inputs([TRIP])
        distance = next(one for one in inputs if one.name() == "distance_km")
        distance.set_shared_memory("distances", data.nbytes)
        found = client.infer("trips", inputs).as_numpy("prediction")[0, 0]
        client.close()
        return float(found)

    assert len({predict() for _ in range(MANY)}) == 1
    kill_one(server)
    assert len({predict() for _ in range(MANY)}) == 1, "the worker that was started again has the region too"
    assert len(everywhere(server, "/v2/systemsharedmemory/status")) == 1

    client = server.client("grpc")
    client.unregister_system_shared_memory()
    client.close()
    assert everywhere(server, "/v2/systemsharedmemory/status") == {"[]"}
    with pytest.raises(InferenceServerException, match="Unable to find shared memory region"):
        predict()


def test_a_region_that_cannot_be_opened_is_refused_and_is_nowhere(server: Server) -> None:
    answer = post(server, "/v2/systemsharedmemory/region/none/register", {"key": "no-such-file", "byte_size": 8})
    assert answer.status_code == 400
    assert "unable to open" in answer.json()["error"]
    assert everywhere(server, "/v2/systemsharedmemory/status") == {"[]"}


def test_what_is_logged_is_changed_in_all_workers(server: Server) -> None:
    before = get(server, "/v2/logging").json()
    changed = post(server, "/v2/logging", {"log_verbose_level": 1 - before["log_verbose_level"]})
    assert everywhere(server, "/v2/logging") == {changed.text}
    assert changed.json() != before
    assert post(server, "/v2/logging", {"log_verbose_level": before["log_verbose_level"]}).json() == before
    assert post(server, "/v2/logging", {"nonsense": 1}).status_code == 400


def test_the_socket_between_them_is_this_users_alone_and_goes_with_them(tmp_path: Path) -> None:
    own = Server(tmp_path)
    [socket] = list(tmp_path.glob("*.sock"))
    assert socket.stat().st_mode & 0o077 == 0
    assert stop(own.process) == 0
    assert not socket.exists()
