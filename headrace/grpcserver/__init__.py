"""A gRPC server for asyncio whose cost per call is small.

HTTP/2 (RFC 9113) and gRPC's framing over it, without threads.

`GrpcServer` takes the servicers that grpcio's compiler generates (`add_XServicer_to_server(servicer, server)`), as
`grpc.aio.server()` does, and besides them raw methods: a callable that gets a call and its message's bytes, and answers
when it likes. A raw method costs no task, no coroutine and no message object.

Reads from below to above: `frames` → `headers` → `calls` → `connection` → `servicers` → `server`.
"""

from headrace.grpcserver.calls import Call, Status
from headrace.grpcserver.limits import Limits
from headrace.grpcserver.server import GrpcServer

__all__ = ["Call", "GrpcServer", "Limits", "Status"]
