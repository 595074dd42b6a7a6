"""A bare grpc.aio server: what gRPC in Python costs without any work. `python -m ... PORT BYTES`."""

import sys

import grpc
import uvloop

METHOD = "inference.GRPCInferenceService"


async def serve(port: int, size: int) -> None:
    """Answer every call with the same bytes; nothing is parsed."""
    body = bytes(size)

    async def answer(_request: bytes, _context: object) -> bytes:
        return body

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers = {"ModelInfer": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(METHOD, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
