"""The gRPC edge of the role `rpc`: inference.GRPCInferenceService, grpc.health.v1 and reflection."""

# ruff: noqa: ARG002, N802 - the calls have the protocol's names and the generated base class's parameters

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.json_format import ParseDict
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from headrace.contracts.oip import POOL, service_pb2_grpc
from headrace.contracts.oip import service_pb2 as pb
from headrace.grpcserver import GrpcServer as Http2Server
from headrace.grpcserver import Limits
from headrace.runtime.access.edge import Edge
from services.inference.oip import describe
from services.inference.oip.grpc_codec import parameter_values, parse_infer, render_answer
from services.inference.oip.messages import InvalidRequest, OipError, Unsupported
from services.inference.oip.shared_memory import NO_CUDA
from services.inference.rpc.control.operations import Control
from services.inference.rpc.grpc.infer import RawInfer
from services.inference.rpc.grpc.stream import InferStream
from services.inference.rpc.models.registry import Registry
from services.inference.rpc.observe.observer import Observer, Seen
from services.inference.rpc.observe.report import Incoming

SERVICE = "inference.GRPCInferenceService"

_MAX_MESSAGE = 1 << 30  # bytes; as many as a body of REST may have

Context = Any  # `headrace.grpcserver.servicers.Context`, or its like
T = TypeVar("T")


class GrpcServer:
    """Serves `models` on a port taken at once, which other processes may take too if it is shared.

    Raises:
        ConfigError: the port is taken or not ours to take.
    """

    def __init__(
        self,
        models: Registry,
        control: Control,
        host: str,
        port: int,
        *,
        edge: Edge | None = None,
        share: bool = False,
        observer: Observer | None = None,
    ) -> None:
        limits = Limits(max_message_bytes=_MAX_MESSAGE, max_unfinished_bytes=_MAX_MESSAGE)
        tls, guard = (None, None) if edge is None else (edge.grpc_tls, edge.guard)
        self._server = Http2Server(host, port, limits=limits, tls=tls, guard=guard, share=share)
        self._health = health.aio.HealthServicer()
        server: Any = self._server  # has what generated code calls of grpc.aio.Server
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Servicer(models, control, observer), server)
        self._server.add_raw_method(f"/{SERVICE}/ModelInfer", RawInfer(models, observer))  # instead of the servicer's
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflected = reflection.aio.ReflectionServicer(service_names=names, pool=_Pools())
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflected, server)

    @property
    def address(self) -> str:
        """host:port."""
        return self._server.address

    async def start(self) -> None:
        """Begin to answer; not serving, says grpc.health.v1, until `serving`."""
        await self.serving(ready=False)
        await self._server.start()

    async def serving(self, *, ready: bool) -> None:
        """Say through grpc.health.v1 whether requests to predict had better come here."""
        await self._set(health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, and give those in hand so long to finish."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)

    async def _set(self, status: Any) -> None:
        for name in ("", SERVICE):
            await self._health.set(name, status)


class _Pools:
    """Our descriptors first, then the process's: what reflection answers from."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def find(*arguments: Any) -> Any:
            try:
                return getattr(POOL, name)(*arguments)
            except KeyError:
                return getattr(descriptor_pool.Default(), name)(*arguments)

        return find


async def _abort(context: Context, error: OipError) -> NoReturn:
    await context.abort(grpc.StatusCode[error.grpc], str(error))
    raise error  # never: `abort` raises


def _answering(method: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    """Turn our errors into status codes."""

    @wraps(method)
    async def call(self: "_Servicer", request: Any, context: Context) -> T:
        try:
            return await method(self, request, context)
        except OipError as error:
            await _abort(context, error)

    return call


class _Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
    """The calls, named as the protocol names them."""

    def __init__(self, models: Registry, control: Control, observer: Observer | None) -> None:
        self._models, self._control, self._observer = models, control, observer

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._models.ready)

    @_answering
    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        return pb.ModelReadyResponse(ready=self._models.model_ready(request.name, request.version))

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: Context) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(**describe.server_metadata(shared_memory=self._models.regions.on))

    @_answering
    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        return ParseDict(self._models.metadata(request.name, request.version), pb.ModelMetadataResponse())

    @_answering
    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:
        return ParseDict({"config": self._models.config(request.name, request.version)}, pb.ModelConfigResponse())

    @_answering
    async def ModelStatistics(self, request: pb.ModelStatisticsRequest, context: Context) -> pb.ModelStatisticsResponse:
        found = await self._control.statistics(request.name, request.version)
        return ParseDict({"model_stats": found}, pb.ModelStatisticsResponse())

    @_answering
    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        """The generated base class wants it; calls go to `RawInfer`, which answers the same faster."""
        return render_answer(await self._models.infer(parse_infer(request, self._models.regions), _peer(context)))

    async def ModelStreamInfer(  # type: ignore[override]  # the server takes coroutines that write, too
        self, request_iterator: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> None:
        """Answers through `context.write`, since requests are read meanwhile."""
        observer = self._observer
        begin = None if observer is None else _Beginning(observer, _peer(context), context)
        await InferStream(self._models, _peer(context), context.write, begin=begin).run(request_iterator)

    @_answering
    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: Context) -> pb.RepositoryIndexResponse:
        return ParseDict({"models": self._models.index(ready_only=request.ready)}, pb.RepositoryIndexResponse())

    @_answering
    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        await self._control.load(request.model_name, parameter_values(request.parameters))
        return pb.RepositoryModelLoadResponse()

    @_answering
    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        await self._control.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()

    @_answering
    async def SystemSharedMemoryStatus(
        self, request: pb.SystemSharedMemoryStatusRequest, context: Context
    ) -> pb.SystemSharedMemoryStatusResponse:
        regions = self._models.regions.status(request.name)
        return ParseDict({"regions": {r["name"]: r for r in regions}}, pb.SystemSharedMemoryStatusResponse())

    @_answering
    async def SystemSharedMemoryRegister(
        self, request: pb.SystemSharedMemoryRegisterRequest, context: Context
    ) -> pb.SystemSharedMemoryRegisterResponse:
        await self._control.register(request.name, request.key, request.offset, request.byte_size)
        return pb.SystemSharedMemoryRegisterResponse()

    @_answering
    async def SystemSharedMemoryUnregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, context: Context
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        await self._control.unregister(request.name)
        return pb.SystemSharedMemoryUnregisterResponse()

    @_answering
    async def CudaSharedMemoryStatus(
        self, request: pb.CudaSharedMemoryStatusRequest, context: Context
    ) -> pb.CudaSharedMemoryStatusResponse:
        if request.name:
            raise InvalidRequest(f"Unable to find shared memory region: '{request.name}'")
        return pb.CudaSharedMemoryStatusResponse()

    @_answering
    async def CudaSharedMemoryRegister(
        self, request: pb.CudaSharedMemoryRegisterRequest, context: Context
    ) -> pb.CudaSharedMemoryRegisterResponse:
        raise Unsupported(NO_CUDA)

    async def CudaSharedMemoryUnregister(
        self, request: pb.CudaSharedMemoryUnregisterRequest, context: Context
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        return pb.CudaSharedMemoryUnregisterResponse()

    @_answering
    async def TraceSetting(self, request: pb.TraceSettingRequest, context: Context) -> pb.TraceSettingResponse:
        wanted = {name: _plain(list(setting.value)) for name, setting in request.settings.items()}
        answer = pb.TraceSettingResponse()
        for name, value in (await self._control.trace(wanted)).items():
            answer.settings[name].value.extend(value if isinstance(value, list) else [value])
        return answer

    @_answering
    async def LogSettings(self, request: pb.LogSettingsRequest, context: Context) -> pb.LogSettingsResponse:
        answer = pb.LogSettingsResponse()
        for name, value in (await self._control.logging(parameter_values(request.settings))).items():
            field = {bool: "bool_param", int: "uint32_param", str: "string_param"}[type(value)]
            setattr(answer.settings[name], field, value)
        return answer


class _Beginning:
    """Shows the requests of a stream to those who look at them: each is of the trace that the call's headers name."""

    def __init__(self, observer: Observer, peer: str, context: Context) -> None:
        self._observer, self._peer = observer, peer
        self._headers = dict(context.invocation_metadata())

    def __call__(self, message: pb.ModelInferRequest) -> Seen | None:
        said = (message.ByteSize(), message.model_name, message.model_version, message.id)
        return self._observer.begin(self._header, lambda: Incoming("grpc", "ModelStreamInfer", self._peer, *said))

    def _header(self, name: str) -> str:
        return str(self._headers.get(name, ""))


def _peer(context: Context) -> str:
    return str(context.peer())


def _plain(values: list[str]) -> Any:
    """A trace setting's value: trace_level is a list, the others are one string."""
    return values if not values or values == ["OFF"] else values[0]
