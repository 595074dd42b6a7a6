"""Versions of a pipeline's own model by number and by label, in several processes, over REST and gRPC."""

import os
import signal
from pathlib import Path
from typing import Any

import grpc
import httpx

from headrace.contracts.oip import service_pb2 as pb
from headrace.contracts.oip.service_pb2_grpc import GRPCInferenceServiceStub
from headrace.runtime.endpoints import read_endpoints
from tests.integration.ckpt.fleet import Fleet
from tests.integration.rpc.rpc_process import start, stop
from tests.integration.rpc.test_rpc_live import pipeline
from tests.patience import wait_for

__all__ = ["pipeline"]

EVENT = {"inputs": [{"name": "id", "datatype": "BYTES", "shape": [1, 1], "data": ["a"]}]}
CONNECTIONS = 8  # new ones: each may come to another worker


def by_rest(url: str, version: str) -> set[Any]:
    """The version that answered over each connection, or why none did; each prediction is its version."""
    found = set()
    for _ in range(CONNECTIONS):
        answer = httpx.post(f"{url}/versions/{version}/infer", json=EVENT).json()
        if "error" not in answer:
            assert answer["outputs"][0]["data"] == [int(answer["model_version"])]
        found.add(answer.get("error") or int(answer["model_version"]))
    return found


def by_grpc(address: str, model: str, version: str) -> str:
    request = pb.ModelInferRequest(model_name=model, model_version=version)
    request.inputs.add(name="id", datatype="BYTES", shape=[1, 1]).contents.bytes_contents.append(b"a")
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        return str(GRPCInferenceServiceStub(channel).ModelInfer(request).model_version)


def executed_and_found(url: str) -> tuple[int, int]:
    """Executions, and answers from the response cache, of all workers."""
    (counts,) = httpx.get(f"{url}/stats").json()["model_stats"]
    return counts["execution_count"], counts["inference_stats"]["cache_hit"]["count"]


def test_kept_versions_answer_in_every_worker_and_in_one_that_starts_later(fleet: Fleet, pipeline: Path) -> None:
    fleet.coordinator("coordinator")
    fleet.agent("agent", "--slots", "3")
    flags = ("--workers", "2", "--version-policy", "latest:3", "--version-labels", f"{fleet.model}.golden=2")
    flags += ("--response-cache-bytes", "1000000")
    process, endpoints = start(fleet.folder, *flags, pipeline=pipeline)
    url = f"{endpoints['rest']}/v2/models/{fleet.model}"
    ready = lambda: httpx.get(f"{endpoints['ops']}/readyz").status_code == 200  # noqa: E731
    try:
        for version in (1, 2, 3, 4):
            fleet.publish(version)
            wait_for(lambda version=version: ready() and by_rest(url, "latest") == {version})

        def all_kept() -> bool:
            return all(by_rest(url, str(version)) == {version} for version in (2, 3, 4))

        assert all_kept()
        assert by_rest(url, "stable") == {4}
        assert by_rest(url, "golden") == {2}
        assert by_grpc(endpoints["grpc"], fleet.model, "3") == "3"
        (gone,) = by_rest(url, "1")
        assert "version 1 is not found: kept are 2, 3, 4" in gone
        (none,) = by_rest(url, "canary")
        assert "version 'canary' is not found" in none
        told = httpx.get(url).json()
        assert told["versions"] == ["2", "3", "4"]
        config = httpx.get(f"{url}/config").json()
        assert config["version_policy"] == {"latest": {"num_versions": 3}}
        assert config["parameters"]["version_labels"]["string_value"] == "golden=2,latest=4,stable=4"

        before = executed_and_found(url)
        new = {"inputs": [{**EVENT["inputs"][0], "data": ["never asked before"]}]}
        answers = {httpx.post(f"{url}/infer", json=new).content for _ in range(CONNECTIONS)}
        after = executed_and_found(url)
        assert len(answers) == 1
        assert (after[0] - before[0], after[1] - before[1]) == (1, CONNECTIONS - 1), "one for both workers"

        one = next(e for e in read_endpoints(fleet.folder) if e.role == "rpc-worker")
        os.kill(one.pid, signal.SIGKILL)
        wait_for(lambda: one.pid not in {e.pid for e in read_endpoints(fleet.folder)} and ready())
        wait_for(all_kept)
    finally:
        assert stop(process) == 0
