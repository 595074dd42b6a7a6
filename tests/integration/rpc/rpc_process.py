"""The role `rpc` as a process of its own, serving a file of weights."""

import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from headrace.model.exact_rows import choose_fixed_kernels, forward
from headrace.model.pipeline import Pipeline
from headrace.runtime.endpoints import read_endpoints
from tests.patience import WAIT_S

choose_fixed_kernels()

FOLDER = Path(__file__).parent / "trips"


@dataclass
class Served:
    """A running rpc process, and the model that it serves by hand."""

    pipeline: Pipeline
    network: torch.nn.Module
    endpoints: dict[str, str]
    process: "subprocess.Popen[bytes]"

    @property
    def http(self) -> str:
        """host:port of REST, as tritonclient takes it."""
        return self.endpoints["rest"].removeprefix("http://")

    @property
    def grpc(self) -> str:
        return self.endpoints["grpc"]

    def by_hand(self, trips: list) -> list[float]:
        with torch.inference_mode():
            return list(self.pipeline.model.predictions(forward(self.network, self.pipeline.model.features(trips))))


def start(
    run_dir: Path,
    *flags: str,
    pipeline: Path = FOLDER,
    service: str = "inference.rpc",
    role: str = "rpc",
    wanted: int = 3,
    instance: str = "",
    log_dir: Path | None = None,
) -> tuple["subprocess.Popen[bytes]", dict[str, str]]:
    """Start a role and return it with its endpoints, once it has as many as are wanted."""
    command = [
        sys.executable,
        "-m",
        f"services.{service}",
        "--pipeline",
        str(pipeline),
        "--run-dir",
        str(run_dir),
    ]
    log_file = (log_dir or run_dir) / f"{role}.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen([*command, "--instance", instance or f"{role}-under-test", *flags], stderr=log)
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and process.poll() is None:
        found = next((e for e in read_endpoints(run_dir) if e.pid == process.pid), None)
        if found is not None and len(found.endpoints) >= wanted:
            return process, found.endpoints
        time.sleep(0.05)
    process.kill()
    process.wait()
    pytest.fail(log_file.read_text())


def stop(process: "subprocess.Popen[bytes]") -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(WAIT_S)
