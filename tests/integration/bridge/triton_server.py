"""A real Triton Inference Server: the one that the wheel nvidia-pytriton carries, unpacked where TRITON_WHEEL says."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

START_S = 60.0


class TritonServer:
    """`tritonserver` with explicit model control and the Python backend of this interpreter's version."""

    def __init__(self, wheel: Path, folder: Path) -> None:
        self.repository = folder / "repository"
        self.repository.mkdir()
        self.log = folder / "triton.log"
        self._libraries = wheel / "nvidia_pytriton.libs"
        self._binary = wheel / "pytriton" / "tritonserver" / "bin" / "tritonserver"
        self._backends = folder / "backends"
        shutil.copytree(wheel / "pytriton" / "tritonserver" / "backends", self._backends)
        stub = (
            wheel
            / "pytriton"
            / "tritonserver"
            / "python_backend_stubs"
            / f"{sys.version_info[0]}.{sys.version_info[1]}"
        )
        shutil.copy(stub / "triton_python_backend_stub", self._backends / "python")
        for program in (self._binary, self._backends / "python" / "triton_python_backend_stub"):
            program.chmod(0o755)
        self.address = f"127.0.0.1:{_free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it is ready; no model is loaded."""
        libraries = f"{self._libraries}:{sysconfig.get_config_var('LIBDIR')}"
        # The backend's interpreter takes the environment of the first python3 on the PATH as its own.
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._binary), f"--model-repository={self.repository}", f"--backend-directory={self._backends}",
                    "--model-control-mode=explicit", "--allow-http=false", "--allow-metrics=false",
                    "--grpc-address=127.0.0.1", f"--grpc-port={self.address.split(':')[1]}",
                ],
                stdout=log, stderr=log,
                env={**os.environ, "LD_LIBRARY_PATH": libraries, "PATH": path, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        with contextlib.closing(grpc.InferenceServerClient(self.address)) as client:
            while time.monotonic() < deadline:
                with contextlib.suppress(InferenceServerException):
                    if client.is_server_ready(client_timeout=1.0):
                        return
                time.sleep(0.1)
        pytest.fail(f"Triton is not ready:\n{self.log.read_text()[-3000:]}")

    def stop(self, *, kill: bool = False) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill() if kill else process.terminate()
            process.wait(START_S)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
