"""The role `rpc`, composed: the models between live weights and the two transports."""

import asyncio
import gc
from collections.abc import Sequence
from typing import Any

from headrace.runtime.errors import ConfigError
from headrace.runtime.lifecycle import App, Context, Stop
from headrace.runtime.scheduling import use_realtime
from headrace.runtime.tracing import start_tracing
from headrace.runtime.web import WebServer
from headrace.weights.worker.source import VersionedWeights
from services.inference.live import load_all
from services.inference.oip.diagnostics import LogSettings, TraceSettings
from services.inference.oip.shared_memory import Regions
from services.inference.rpc.backends.models import RepositoryModels
from services.inference.rpc.backends.repository import Repository
from services.inference.rpc.control.member import Member, socket_of_worker
from services.inference.rpc.control.operations import Alone, Control, Operations
from services.inference.rpc.grpc.server import GrpcServer
from services.inference.rpc.metrics import ProtocolCollector
from services.inference.rpc.models.pipelines import models_of
from services.inference.rpc.models.registry import Registry
from services.inference.rpc.observe.access_log import AccessLog
from services.inference.rpc.observe.observer import Observer
from services.inference.rpc.observe.spans import RequestSpans
from services.inference.rpc.rest.app import create_app
from services.inference.rpc.rest.infer import protocol_for
from services.inference.rpc.settings import RpcSettings

_GRACE_S = 5.0
_WATCH_S, _LOOK_S = 0.25, 0.02


class RpcApp:
    """Answers over REST and gRPC; ready while what it serves is what the fleet is to serve."""

    def __init__(
        self,
        context: Context[RpcSettings],
        models: Registry,
        samples: Sequence[Any],
        *,
        shared: bool = False,
    ) -> None:
        self._context, self._settings, self._models, self._samples = context, context.settings, models, samples
        settings, self._shared = self._settings, shared
        self._repository = _repository(settings, models)
        self._collector = ProtocolCollector(lambda: [(model.name, model.statistics) for model in models])
        self._tracing = start_tracing("rpc", settings.instance)
        self._observer = self._observing()
        traces = TraceSettings(None if self._tracing is None else self._tracing.sampling)
        operations = Operations(models, LogSettings(), traces)
        self._member = Member(operations, socket_of_worker(settings)) if shared else None
        self._control = Control(self._member or Alone(operations))
        context.ready.declare("weights", "rest", "grpc")

    def _observing(self) -> Observer | None:
        share, errors = self._settings.access_log_sample, self._settings.access_log_errors_per_s
        spans = None if self._tracing is None else RequestSpans(self._tracing)
        log = None if share is None else AccessLog(share, errors)
        return None if spans is None and log is None else Observer(spans, log)

    async def run(self, stop: Stop) -> None:
        """Answer until `stop` is set; then finish the requests in hand."""
        app = create_app(self._models, self._control, self._samples, self._observer)
        lean = protocol_for(self._models, self._observer, self._context.edge.guard)
        rest = WebServer(
            app,
            self._settings.host,
            self._settings.rest_port,
            grace_s=_GRACE_S,
            protocol=lean,
            share=self._shared,
            edge=self._context.edge,
        )
        grpc = GrpcServer(
            self._models,
            self._control,
            self._settings.host,
            self._settings.grpc_port,
            edge=self._context.edge,
            share=self._shared,
            observer=self._observer,
        )
        if self._repository is not None:
            await self._repository.add_all()
        for model in self._models:
            await model.start()
        if self._repository is not None:
            self._repository.start()
        if self._member is not None:  # the other workers answer meanwhile
            await self._first_version(stop)
            await self._member.join()
        serving = asyncio.create_task(rest.serve())
        announcing = asyncio.create_task(self._announce(stop, grpc))
        try:
            await grpc.start()
            self._listening("rest", rest.url)
            self._listening("grpc", grpc.address)
            await self._until(stop, serving)
        finally:
            await self._close(rest, grpc, serving, announcing)

    def _listening(self, name: str, address: str) -> None:
        self._context.publish_endpoint(name, address)
        self._context.ready.set(name, True, address)  # noqa: FBT003
        self._context.log.info("listening", transport=name, address=address)

    async def _until(self, stop: Stop, serving: "asyncio.Task[None]") -> None:
        stopped = asyncio.create_task(stop.waited())
        await asyncio.wait([stopped, serving], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if serving.done():
            serving.result()

    async def _announce(self, stop: Stop, grpc: GrpcServer) -> None:
        """Say when first versions are live; and, through grpc.health.v1, whenever this worker is behind its fleet."""
        if not await self._first_version(stop):
            return
        gc.collect()
        gc.freeze()  # what is there now stays: no collection during a request looks at it again
        self._context.ready.set("weights", True, "every model has a version")  # noqa: FBT003
        told = False
        while not stop.is_set():
            if self._models.ready != told:
                told = not told
                await grpc.serving(ready=told)
            await asyncio.sleep(_WATCH_S)

    async def _first_version(self, stop: Stop) -> bool:
        """Wait until every required model has a version; False if asked to stop before."""
        while not self._models.available:
            if stop.is_set():
                return False
            await asyncio.sleep(_LOOK_S)
        return True

    async def _close(
        self, rest: WebServer, grpc: GrpcServer, serving: "asyncio.Task[Any]", announcing: "asyncio.Task[Any]"
    ) -> None:
        """In order: no more requests, those in hand finished, then what they stood on."""
        rest.stop()
        await asyncio.gather(grpc.stop(_GRACE_S), serving, return_exceptions=True)
        announcing.cancel()
        await asyncio.gather(announcing, return_exceptions=True)
        if self._repository is not None:
            await self._repository.stop()
        await asyncio.gather(*(model.stop() for model in self._models))
        if self._member is not None:
            await self._member.close()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)


def _repository(settings: RpcSettings, models: Registry) -> RepositoryModels | None:
    if settings.model_repository is None:
        return None
    if not settings.model_repository.is_dir():
        raise ConfigError(
            f"rpc: --model-repository {settings.model_repository}: there is no such folder",
            hint="a folder a model, in it config.pbtxt and a folder a version",
        )
    repository = Repository(settings.model_repository)
    queue, overdue_s = settings.queue_max_events, settings.execution_timeout_s
    return RepositoryModels(models, repository, queue, overdue_s, settings.model_repository_poll_s)


def build_rpc(context: Context[RpcSettings], weights: VersionedWeights | None = None, *, shared: bool = False) -> App:
    """The role `rpc`; `weights` are those of the first pipeline's own model, where they are given."""
    if context.settings.realtime and not use_realtime():
        raise ConfigError(
            "rpc: this process may not have a real-time priority",
            hint="give it CAP_SYS_NICE or a limit of real-time priority (ulimit -r 1, LimitRTPRIO=1), "
            "or leave --realtime out",
        )
    settings = context.settings
    models, samples = models_of(context, load_all(settings.folders, settings), weights)
    return RpcApp(context, Registry(models, Regions(settings.shared_memory_regions)), samples, shared=shared)


def build_worker(context: Context[RpcSettings]) -> App:
    """One of several processes of the role, on ports that they share; it listens once a version is live."""
    return build_rpc(context, shared=True)
