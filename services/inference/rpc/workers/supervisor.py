"""The role `rpc` in several processes on one pair of ports.

The main process keeps both ports with sockets that never listen, and starts and restarts the workers, each of which
listens on the same ports (SO_REUSEPORT), once a version is live in it. The kernel gives each connection to one of them.
"""

import asyncio
import os
import socket
from collections.abc import Sequence

from headrace.launch.programs import RoleProgram
from headrace.launch.specs import RestartPolicy, RoleSpec, State
from headrace.launch.supervised import Supervised
from headrace.runtime.errors import ConfigError, ExitCode, HeadraceError
from headrace.runtime.lifecycle import Context, Stop
from services.inference.rpc.cache.shared import LEAST
from services.inference.rpc.control.hub import Hub, socket_of
from services.inference.rpc.settings import RpcSettings
from services.inference.rpc.workers.merged_metrics import MergedMetrics

_PROBE_S = 0.1
_POLICY = RestartPolicy(give_up=3)
_MARGIN_S = 2.0


class WorkerError(HeadraceError):
    """A worker ended, and starting it again is no use."""

    def __init__(self, message: str, code: int | None) -> None:
        super().__init__(message, hint="the worker's log is in the run's folder, under logs")
        known = set(ExitCode) - {ExitCode.OK}
        self.exit_code = next((one for one in known if one == code), ExitCode.INTERNAL)


class WorkersApp:
    """Keeps the workers running. Ready while every one of them is, so that a caller meets none that is behind.

    Raises:
        ConfigError: a port is taken.
    """

    def __init__(self, context: Context[RpcSettings], argv: Sequence[str], workers: int) -> None:
        self._context, settings = context, context.settings
        self._rest = reserve("REST", settings.host, settings.rest_port, "--rest-port")
        self._grpc = reserve("gRPC", settings.host, settings.grpc_port, "--grpc-port")
        self._cache = _memory(settings.most_cached)
        shared = [] if self._cache is None else [f"--response-cache-file=/proc/{os.getpid()}/fd/{self._cache}"]
        ports = (f"--rest-port={_port(self._rest)}", f"--grpc-port={_port(self._grpc)}")
        self._workers = [self._worker(number, [*argv, *ports, *shared]) for number in range(workers)]
        self._metrics = MergedMetrics(self._ops)
        self._hub = Hub(socket_of(settings.run_folder, settings.instance))
        context.ready.declare(*(worker.program.key for worker in self._workers))

    def _worker(self, number: int, argv: Sequence[str]) -> Supervised:
        settings = self._context.settings
        instance = f"{settings.instance}.{number}"
        args = (*argv, f"--instance={instance}", "--ops-port=0", "--workers=1", f"--run-dir={settings.run_folder}")
        limit = settings.shutdown_timeout_s + _MARGIN_S
        module = "services.inference.rpc.workers.worker"
        spec = RoleSpec(instance, module, "rpc-worker", args, instance=instance, stop_timeout_s=limit)
        return Supervised(RoleProgram(spec, settings.run_folder, os.environ), _POLICY, lambda: None)

    async def run(self, stop: Stop) -> None:
        """Keep them running until `stop` is set; then let each finish the requests in hand.

        Raises:
            WorkerError: one ended for good.
        """
        await self._hub.open()
        for worker in self._workers:
            worker.start()
        for name, scheme, listener in (("rest", "http://", self._rest), ("grpc", "", self._grpc)):
            address = f"{scheme}{_address(listener)}"
            self._context.publish_endpoint(name, address)
            self._context.log.info("listening", transport=name, address=address, workers=len(self._workers))
        try:
            while not stop.is_set():
                await asyncio.to_thread(self._look)
                await asyncio.to_thread(stop.wait, _PROBE_S)
        finally:
            await asyncio.to_thread(self._end)
            await self._hub.close()

    def _look(self) -> None:
        for worker in self._workers:
            worker.probe()
            status = worker.status
            if status.state.over:
                raise WorkerError(f"rpc: worker {worker.failure()}", status.exit_code)
            detail = f"process {status.pid}, {status.restarts} restarts {status.detail}".rstrip()
            self._context.ready.set(worker.program.key, status.state is State.READY, detail)

    def _end(self) -> None:
        for worker in self._workers:
            worker.ask_to_stop()
        for worker in self._workers:
            worker.join(worker.program.stop_timeout_s)
        self._metrics.close()
        self._rest.close()
        self._grpc.close()
        if self._cache is not None:
            os.close(self._cache)

    def _ops(self) -> dict[str, tuple[int, str]]:
        """The process and the ops address of every worker that has one."""
        known = {worker.program.key: worker.status for worker in self._workers}
        return {
            key: (s.pid, s.endpoints["ops"]) for key, s in known.items() if s.pid is not None and "ops" in s.endpoints
        }


def _memory(size: int) -> int | None:
    """Shared memory for the workers' response cache, which is gone with the last process that has it; None for none."""
    if not size:
        return None
    made = os.memfd_create("headrace-responses")
    os.ftruncate(made, max(size, LEAST))
    return made


def reserve(what: str, host: str, port: int, flag: str) -> socket.socket:
    """A bound socket that never listens, whose port this user's other processes may share; port 0 takes a free one.

    Raises:
        ConfigError: the port is taken, shared or not.
    """
    kept = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        kept.bind((host, port))  # not shared yet, so that it fails beside another server that shares its port
    except OSError as error:
        kept.close()
        raise ConfigError(f"{what}: cannot listen on {host}:{port}: {error.strerror}", hint=flag) from error
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return kept


def _port(kept: socket.socket) -> int:
    return int(kept.getsockname()[1])


def _address(kept: socket.socket) -> str:
    host, port = kept.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
