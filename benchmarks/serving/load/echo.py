"""The least that can answer: one server for HTTP/1.1 and one for gRPC, to find out what the load itself can do.

    python -m benchmarks.serving.load.echo http1|grpc PORT BYTES

Every answer is the same BYTES bytes; nothing is routed, and of requests nothing is read but where they end.
"""

import asyncio
import struct
import sys

import uvloop

from benchmarks.serving.load.http2 import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    headers_block,
)


class Http1Echo(asyncio.Protocol):
    """Answers each request of a connection that has one in flight."""

    def __init__(self, body: bytes) -> None:
        self._answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Answer at a request's end."""
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._buffer.find(b"Content-Length: ")
        length = int(self._buffer[at + 16 : self._buffer.index(b"\r\n", at)]) if 0 <= at < head else 0
        if len(self._buffer) >= head + 4 + length:
            self._buffer = self._buffer[head + 4 + length :]
            self._transport.write(self._answer)  # type: ignore[union-attr]


class GrpcEcho(asyncio.Protocol):
    """Answers a call as soon as its data has ended."""

    def __init__(self, body: bytes, status: int = 0) -> None:
        head = headers_block([(":status", "200"), ("content-type", "application/grpc")])
        message = b"\0" + len(body).to_bytes(4, "big") + body
        trailers = headers_block([("grpc-status", str(status))])
        self._parts = [
            frame(HEADERS, END_HEADERS, 0, head),
            frame(DATA, 0, 0, message),
            frame(HEADERS, END_HEADERS | END_STREAM, 0, trailers),
        ]
        self._buffer = b""
        self._preface = len(PREFACE)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send our settings."""
        self._transport = transport  # type: ignore[assignment]
        self._transport.write(frame(SETTINGS, 0, 0))  # type: ignore[union-attr]

    def data_received(self, data: bytes) -> None:
        """Take frames in, and answer all calls that ended in one write."""
        data = self._buffer + data
        if len(data) < self._preface:
            self._buffer = data
            return
        at, end, out, taken = self._preface, len(data), [], 0
        self._preface = 0
        while end - at >= 9:
            size = int.from_bytes(data[at : at + 3], "big")
            if end - at < 9 + size:
                break
            kind, flags, stream = data[at + 3], data[at + 4], data[at + 5 : at + 9]
            if kind == DATA:
                taken += size
                if flags & END_STREAM:
                    out += [part[:5] + stream + part[9:] for part in self._parts]
            elif kind in (SETTINGS, PING) and not flags & ACK:
                out.append(frame(kind, ACK, 0, data[at + 9 : at + 9 + size] if kind == PING else b""))
            at += 9 + size
        self._buffer = data[at:]
        if taken:
            out.append(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", taken)))
        self._transport.write(b"".join(out))  # type: ignore[union-attr]


async def serve(kind: str, port: int, size: int) -> None:
    """Answer until cancelled."""
    body = bytes(size)
    made = {"http1": lambda: Http1Echo(body), "grpc": lambda: GrpcEcho(body)}[kind]
    server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
