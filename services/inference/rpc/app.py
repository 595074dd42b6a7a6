"""The role `rpc`, composed: the data plane between live weights and the two transports."""

import asyncio
import gc
from typing import Any

from headrace.model.pipeline import Pipeline
from headrace.runtime.devices.choosing import open_device
from headrace.runtime.errors import ConfigError
from headrace.runtime.lifecycle import App, Context, Stop
from headrace.runtime.scheduling import use_realtime
from headrace.runtime.tracing import start_tracing
from headrace.runtime.web import WebServer
from headrace.weights.worker.source import WeightsSource
from services.inference.live import live_weights, load
from services.inference.oip.diagnostics import LogSettings, TraceSettings
from services.inference.oip.shared_memory import Regions
from services.inference.rpc.batcher import BatchLimits
from services.inference.rpc.control.member import Member, socket_of_worker
from services.inference.rpc.control.operations import Alone, Control, Operations
from services.inference.rpc.grpc import GrpcServer
from services.inference.rpc.metrics import ProtocolCollector
from services.inference.rpc.observe.access_log import AccessLog
from services.inference.rpc.observe.observer import Observer
from services.inference.rpc.observe.spans import RequestSpans
from services.inference.rpc.parameters import Priorities
from services.inference.rpc.response_cache import ResponseCache
from services.inference.rpc.rest import create_app
from services.inference.rpc.rest_infer import protocol_for
from services.inference.rpc.service import DataPlane
from services.inference.rpc.settings import RpcSettings
from services.inference.warm_up import WarmUpBatches
from services.inference.weights_file import open_weights

_GRACE_S = 5.0
_WATCH_S = 0.25


class RpcApp:
    """Answers over REST and gRPC; ready while what it serves is what the fleet is to serve."""

    def __init__(
        self,
        context: Context[RpcSettings],
        pipeline: Pipeline,
        warm_up: WarmUpBatches,
        weights: WeightsSource,
        *,
        shared: bool = False,
    ) -> None:
        self._context, self._settings, self._weights = context, context.settings, weights
        settings, self._shared = self._settings, shared
        self._plane = DataPlane(
            pipeline.name,
            pipeline.model,
            weights,
            BatchLimits(
                settings.batch_max_events,
                settings.batch_max_delay_us,
                settings.queue_max_events,
                settings.predict_threads,
                settings.loop_max_us,
            ),
            max_batch=settings.max_batch_size,
            priorities=Priorities(settings.priority_levels, min(settings.default_priority, settings.priority_levels)),
            remember=warm_up.remember,
            regions=Regions(settings.shared_memory_regions),
            cache=ResponseCache(settings.response_cache_bytes) if settings.response_cache_bytes else None,
            device=open_device(settings.device).name,
        )
        self._collector = ProtocolCollector(pipeline.name, self._plane.statistics)
        self._samples = warm_up.samples
        self._tracing = start_tracing("rpc", settings.instance)
        self._observer = self._observing()
        traces = TraceSettings(None if self._tracing is None else self._tracing.sampling)
        operations = Operations(self._plane, LogSettings(), traces)
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
        app = create_app(self._plane, self._control, self._samples, self._observer)
        lean = protocol_for(self._plane, self._observer)
        rest = WebServer(
            app, self._settings.host, self._settings.rest_port, grace_s=_GRACE_S, protocol=lean, share=self._shared
        )
        grpc = GrpcServer(
            self._plane,
            self._control,
            self._settings.host,
            self._settings.grpc_port,
            share=self._shared,
            observer=self._observer,
        )
        self._weights.start()
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
        """Say when the first version is live; and, through grpc.health.v1, whenever this worker is behind its fleet."""
        if not await self._first_version(stop):
            return
        gc.collect()
        gc.freeze()  # what is there now stays: no collection during a request looks at it again
        self._context.ready.set("weights", True, f"since version {self._weights.version}")  # noqa: FBT003
        told = False
        while not stop.is_set():
            if self._plane.ready != told:
                told = not told
                await grpc.serving(ready=told)
            await asyncio.sleep(_WATCH_S)

    async def _first_version(self, stop: Stop) -> bool:
        """Wait until a version is live; False if asked to stop before."""
        while not await asyncio.to_thread(self._weights.wait_ready, _WATCH_S):
            if stop.is_set():
                return False
        return True

    async def _close(
        self, rest: WebServer, grpc: GrpcServer, serving: "asyncio.Task[Any]", announcing: "asyncio.Task[Any]"
    ) -> None:
        """In order: no more requests, those in hand finished, then what they stood on."""
        rest.stop()
        await asyncio.gather(grpc.stop(_GRACE_S), serving, return_exceptions=True)
        announcing.cancel()
        await asyncio.gather(announcing, return_exceptions=True)
        self._plane.close()
        self._weights.stop()
        if self._member is not None:
            await self._member.close()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)


def build_rpc(context: Context[RpcSettings], weights: WeightsSource | None = None, *, shared: bool = False) -> App:
    """The role `rpc`."""
    if context.settings.realtime and not use_realtime():
        raise ConfigError(
            "rpc: this process may not have a real-time priority",
            hint="give it CAP_SYS_NICE or a limit of real-time priority (ulimit -r 1, LimitRTPRIO=1), "
            "or leave --realtime out",
        )
    pipeline = load(context.settings, context.role)
    settings = context.settings
    warm_up = WarmUpBatches(pipeline, max(settings.max_batch_size, settings.batch_max_events))
    if weights is None and settings.weights is not None:
        weights = open_weights(settings.weights, pipeline, warm_up, open_device(settings.device))
    return RpcApp(
        context,
        pipeline,
        warm_up,
        weights or live_weights(context, pipeline, warm_up, lambda _: None),  # type: ignore[arg-type]
        shared=shared,
    )


def build_worker(context: Context[RpcSettings]) -> App:
    """One of several processes of the role, on ports that they share; it listens once a version is live."""
    return build_rpc(context, shared=True)
