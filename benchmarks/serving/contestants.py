"""The contestants: what they are called, what they speak, and how each is started."""

import json
import os
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.serving import triton
from benchmarks.serving.cores import Cores, pinned
from benchmarks.serving.load.plan import Form
from benchmarks.serving.requests import MODEL
from benchmarks.serving.servers import Address, Server, free_ports, launch, listening, wait_until
from headrace.runtime.endpoints import find
from services.inference.rpc.settings import RpcSettings

ROOT = Path(__file__).resolve().parents[2]
TASK = Path(__file__).parent / "task"
LOGS = Path("build/bench")
MLSERVER = Path("build/peers/mlserver/bin/mlserver")
ECHO_BYTES = 160
"""About what an answer has."""
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""For everybody's arithmetic: products this small gain nothing from threads."""


@dataclass(frozen=True)
class Stage:
    """What a contestant is started on."""

    folder: Path
    """Empty at first, its own."""
    weights: Path
    cores: Cores

    @property
    def workers(self) -> int:
        """Processes that a contestant may divide its work among: as many as there are cores for it."""
        return len(self.cores.servers)

    def launch(self, name: str, line: Sequence[str], **env: str) -> Server:
        """Start a command on the servers' cores."""
        whole = {**os.environ, **_ONE_THREAD, "PYTHONPATH": str(ROOT), "BENCH_WEIGHTS": str(self.weights), **env}
        return launch(pinned(self.cores.servers, line), LOGS / f"serving-{name}.log", whole)


@dataclass(frozen=True)
class Contestant:
    """One way to serve. `name` is its key in the JSON file."""

    name: str
    title: str
    forms: tuple[Form, ...]
    start: Callable[[Stage], Server]
    absent: Callable[[], str] = lambda: ""
    """Why it cannot be run here."""
    one_tensor: bool = False
    """Its requests have one tensor of twelve columns."""


def rpc_line(stage: Stage, *flags: str) -> list[str]:
    """The command of the role `rpc`, in as many processes as it is made for."""
    workers = [f"--workers={stage.workers}"] if "workers" in RpcSettings.model_fields else []
    line = [sys.executable, "-m", "services.inference.rpc", f"--pipeline={TASK}", f"--run-dir={stage.folder}"]
    return [*line, "--log-level=warning", *workers, *flags]


def wait_for_rpc(server: Server, run_dir: Path) -> None:
    """Wait until the role serves a version, and note where."""
    address: dict[str, str] = {}

    def ready() -> bool:
        for transport in ("rest", "grpc"):
            address.update((transport, found) for found in find(run_dir, "rpc", transport)[:1])
        return len(address) == 2 and _ok(f"{address['rest']}/v2/models/{MODEL}/ready")

    wait_until(server, ready, "the role rpc")
    server.address = Address(grpc=_port(address["grpc"]), rest=_port(address["rest"]))


def _start_ours(stage: Stage) -> Server:
    server = stage.launch("ours", rpc_line(stage, f"--weights={stage.weights}"))
    try:
        wait_for_rpc(server, stage.folder)
    except BaseException:
        server.stop()
        raise
    return server


def _start_triton(stage: Stage, *, one_tensor: bool = False) -> Server:
    grpc, rest = free_ports(2)
    triton.write_repository(stage.folder, TASK, stage.weights, stage.workers, one_tensor=one_tensor)
    line, env = triton.command(stage.folder, grpc, rest)
    server = stage.launch(f"triton{'-one-tensor' * one_tensor}", line, **env)
    server.address = Address(grpc=grpc, rest=rest)
    return _waited(server, lambda: _ok(f"http://127.0.0.1:{rest}/v2/health/ready"))


def _start_mlserver(stage: Stage) -> Server:
    grpc, rest, metrics = free_ports(3)
    server_settings = {
        "host": "127.0.0.1", "http_port": rest, "grpc_port": grpc, "metrics_port": metrics, "debug": False,
        "parallel_workers": 0, "use_structured_logging": False, "logging_settings": None,
    }  # fmt: skip
    model = {
        "name": MODEL, "implementation": "benchmarks.serving.peers.mlserver_model.Mlp", "max_batch_size": 64,
        "max_batch_time": 0.001,
    }  # fmt: skip
    server_settings = {name: value for name, value in server_settings.items() if value is not None}
    (stage.folder / "settings.json").write_text(json.dumps(server_settings))
    (stage.folder / "model-settings.json").write_text(json.dumps(model))
    server = stage.launch("mlserver", [str(MLSERVER.absolute()), "start", str(stage.folder)])
    server.address = Address(grpc=grpc, rest=rest)
    return _waited(server, lambda: _ok(f"http://127.0.0.1:{rest}/v2/models/{MODEL}/ready"))


def _module(name: str, *arguments: str, transport: str) -> Callable[[Stage], Server]:
    """What starts a module that is told its port."""

    def start(stage: Stage) -> Server:
        (port,) = free_ports(1)
        told = [argument.format(workers=stage.workers) for argument in arguments]
        short = name.rsplit(".", 1)[-1] + "".join(told)
        server = stage.launch(short, [sys.executable, "-m", f"benchmarks.serving.{name}", str(port), *told])
        server.address = Address(**{transport: port})
        return _waited(server, lambda: listening("127.0.0.1", port))

    return start


def _load_echo(kind: str, transport: str) -> Callable[[Stage], Server]:
    def start(stage: Stage) -> Server:
        (port,) = free_ports(1)
        line = [sys.executable, "-m", "benchmarks.serving.load.echo", kind, str(port), str(ECHO_BYTES)]
        server = stage.launch(f"echo-{kind}", line)
        server.address = Address(**{transport: port})
        return _waited(server, lambda: listening("127.0.0.1", port))

    return start


def _waited(server: Server, ready: Callable[[], bool]) -> Server:
    try:
        wait_until(server, ready, server.log.stem)
    except BaseException:
        server.stop()
        raise
    return server


def _ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _port(address: str) -> int:
    return int(address.rsplit(":", 1)[1])


def _no_mlserver() -> str:
    return "" if MLSERVER.exists() else f"{MLSERVER} is not there; make bench-serving installs it"


OURS = Contestant("ours", "Headrace rpc", ("grpc", "json", "binary", "tritonclient"), _start_ours)
TRITON = Contestant(
    "triton", "Triton, python backend", ("grpc", "json", "binary", "tritonclient"), _start_triton, triton.absent
)
TRITON_ONE = Contestant(
    "triton_one_tensor", "Triton, one tensor", ("grpc", "json", "binary", "tritonclient"),
    partial(_start_triton, one_tensor=True), triton.absent, one_tensor=True,
)  # fmt: skip
MLSERVER_ = Contestant("mlserver", "MLServer", ("grpc", "json"), _start_mlserver, _no_mlserver)
FASTAPI = Contestant("fastapi", "FastAPI, 1 process", ("plain",), _module("peers.plain_fastapi", "1", transport="rest"))
FASTAPI_MANY = Contestant(
    "fastapi_workers", "FastAPI, a process a core", ("plain",),
    _module("peers.plain_fastapi", "{workers}", transport="rest"),
)  # fmt: skip
GRPC_ECHO = Contestant(
    "grpc_aio_echo", "bare grpc.aio echo", ("grpc",), _module("peers.grpc_echo", str(ECHO_BYTES), transport="grpc")
)
UVICORN_ECHO = Contestant(
    "uvicorn_echo", "bare uvicorn echo", ("json",), _module("peers.uvicorn_echo", str(ECHO_BYTES), transport="rest")
)
LOAD_GRPC = Contestant("load_grpc", "the load's own echo, gRPC", ("grpc",), _load_echo("grpc", "grpc"))
LOAD_HTTP = Contestant("load_http1", "the load's own echo, HTTP", ("json",), _load_echo("http1", "rest"))
ECHOES = (GRPC_ECHO, UVICORN_ECHO, LOAD_GRPC, LOAD_HTTP)
CONTESTANTS: Mapping[str, Contestant] = {
    c.name: c for c in (OURS, TRITON, TRITON_ONE, MLSERVER_, FASTAPI, FASTAPI_MANY, *ECHOES)
}
