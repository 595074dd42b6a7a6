"""Several processes of one role follow a fleet's rollouts."""

from pathlib import Path

import httpx
import numpy as np
import tritonclient.grpc

from headrace.runtime.endpoints import read_endpoints
from tests.integration.ckpt.fleet import Fleet
from tests.integration.rpc.rpc_process import start, stop
from tests.integration.rpc.test_rpc_live import pipeline
from tests.patience import wait_for

__all__ = ["pipeline"]


def versions(address: str, model: str, connections: int) -> set[int]:
    """Which versions answer over so many new connections; each prediction is its version."""
    tensor = tritonclient.grpc.InferInput("id", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([["a"]], np.object_))
    found = set()
    for _ in range(connections):
        own = [("grpc.use_local_subchannel_pool", 1)]
        with tritonclient.grpc.InferenceServerClient(address, channel_args=own) as client:
            answer = client.infer(model, [tensor])
        version = int(answer.get_response().model_version)
        assert float(answer.as_numpy("prediction")[0, 0]) == version
        found.add(version)
    return found


def test_all_workers_follow_each_rollout(fleet: Fleet, pipeline: Path) -> None:
    fleet.coordinator("coordinator")
    fleet.agent("agent")
    process, endpoints = start(fleet.folder, "--workers", "2", pipeline=pipeline)
    try:
        assert httpx.get(f"{endpoints['ops']}/readyz").status_code == 503
        fleet.publish(1)
        wait_for(lambda: httpx.get(f"{endpoints['ops']}/readyz").status_code == 200)
        workers = [one for one in read_endpoints(fleet.folder) if one.role == "rpc-worker"]
        assert len({one.pid for one in workers}) == 2
        for version in (2, 3):
            fleet.publish(version)
            wait_for(lambda version=version: version in versions(endpoints["grpc"], fleet.model, 1))
            assert versions(endpoints["grpc"], fleet.model, 12) == {version}, "one flip for both"
    finally:
        assert stop(process) == 0
