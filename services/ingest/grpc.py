"""gRPC: `headrace.v1.Ingest`, with health and reflection.

Thin: messages in, `Ingest.produce`, answers and status out.
"""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from headrace.contracts import ingest_pb2, ingest_pb2_grpc
from headrace.contracts.records import TRACEPARENT
from headrace.grpcserver import GrpcServer as Http2Server
from headrace.grpcserver import Limits
from headrace.runtime.access.edge import Edge
from headrace.runtime.errors import HeadraceError
from services.ingest.service import Ingest, OverloadedError, UnacknowledgedError, UnknownPipelineError

SERVICE = ingest_pb2.DESCRIPTOR.services_by_name["Ingest"].full_name

_REQUESTS = 4
"""Requests of the largest size that one connection may be sending at the same time."""
_STREAMS: dict[int, str] = {ingest_pb2.EVENTS: "events", ingest_pb2.LABELS: "labels"}
_STATUS: dict[type[HeadraceError], grpc.StatusCode] = {
    UnknownPipelineError: grpc.StatusCode.NOT_FOUND,
    OverloadedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnacknowledgedError: grpc.StatusCode.UNAVAILABLE,
}


class IngestServicer(ingest_pb2_grpc.IngestServicer):
    """The service's methods."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest

    async def Produce(  # noqa: N802 - the proto's name
        self, request: ingest_pb2.ProduceRequest, context: Any
    ) -> ingest_pb2.ProduceResponse:
        """One batch."""
        return await self._produce(request, context)

    async def ProduceStream(  # noqa: N802 - the proto's name
        self, request_iterator: AsyncIterator[ingest_pb2.ProduceRequest], context: Any
    ) -> AsyncIterator[ingest_pb2.ProduceResponse]:
        """Batch after batch, answered in order."""
        async for request in request_iterator:
            yield await self._produce(request, context)

    async def _produce(self, request: ingest_pb2.ProduceRequest, context: Any) -> ingest_pb2.ProduceResponse:
        stream = _STREAMS.get(request.stream)
        if stream is None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "stream: EVENTS or LABELS")
        traceparent = next((v for k, v in context.invocation_metadata() or () if k == TRACEPARENT), None)
        try:
            outcome = await self._ingest.produce(
                request.pipeline, str(stream), request.records, traceparent=traceparent, edge="grpc"
            )
        except HeadraceError as error:
            status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), grpc.StatusCode.INTERNAL)
            await context.abort(status, str(error))
            raise
        rejected = [ingest_pb2.Rejected(index=r.index, reason=r.reason) for r in outcome.rejected]
        return ingest_pb2.ProduceResponse(accepted=outcome.accepted, rejected=rejected)


class GrpcServer:
    """The service on a port of its own. Construct inside the event loop.

    Raises:
        ConfigError: the port is taken.
    """

    def __init__(self, ingest: Ingest, host: str, port: int, *, edge: Edge, max_request_bytes: int) -> None:
        unfinished = max(Limits.max_unfinished_bytes, _REQUESTS * max_request_bytes)
        limits = Limits(max_message_bytes=max_request_bytes, max_unfinished_bytes=unfinished)
        self._server = Http2Server(host, port, limits=limits, tls=edge.grpc_tls, guard=edge.guard)
        self._health = health.aio.HealthServicer()
        server: Any = self._server  # has what generated code calls of grpc.aio.Server
        ingest_pb2_grpc.add_IngestServicer_to_server(IngestServicer(ingest), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            reflection.aio.ReflectionServicer(service_names=names), server
        )

    @property
    def address(self) -> str:
        """host:port."""
        return self._server.address

    async def start(self) -> None:
        """Begin to answer."""
        await self._server.start()
        for name in ("", SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls; finish those in hand, within `grace_s` seconds."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)
