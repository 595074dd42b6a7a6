"""A connection without a socket: bytes in, frames out."""

import asyncio
import struct
from typing import Any, NamedTuple

import hpack

from headrace.grpcserver import Call, Limits, frames
from headrace.grpcserver.connection import Connection
from headrace.grpcserver.methods import Methods

HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/test.Echo/Raw"),
    (":authority", "here"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


class Socket(asyncio.Transport):
    """What a connection writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = self.aborted = self.paused = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def parse(data: bytes) -> list[Frame]:
    found, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 3])
        body = at + 9
        found.append(Frame(data[at + 3], data[at + 4], int.from_bytes(data[at + 5 : body]), data[body : body + length]))
        at = body + length
    return found


class Server(Methods):
    """Methods without a port."""

    def opened(self, connection: Connection) -> None:
        pass

    def closed(self, connection: Connection) -> None:
        pass


class Peer:
    """A client, by hand. Answers of `/test.Echo/Raw` are its messages backwards; `Later` keeps its calls."""

    def __init__(self, **limits: Any) -> None:
        self.server = Server()
        self.later: list[Call] = []
        self.server.add_raw_method("/test.Echo/Raw", lambda call, message: call.reply(message[::-1]))
        self.server.add_raw_method("/test.Echo/Later", lambda call, _: self.later.append(call))
        self.socket = Socket()
        self.connection = Connection(self.server, Limits(**limits))
        self.connection.connection_made(self.socket)
        self.encoder = hpack.Encoder()
        self.stream = -1

    def send(self, *data: bytes) -> None:
        self.connection.data_received(b"".join(data))

    def greet(self, *settings: tuple[frames.Setting, int]) -> None:
        self.send(frames.PREFACE, frames.settings(dict(settings)))

    def block(self, path: str = "/test.Echo/Raw", **more: str) -> bytes:
        fields = [(name, path if name == ":path" else value) for name, value in HEADERS]
        return bytes(self.encoder.encode([*fields, *more.items()]))

    def call(self, message: bytes, path: str = "/test.Echo/Raw") -> bytes:
        """A unary call's frames."""
        self.stream += 2
        data = struct.pack(">BI", 0, len(message)) + message
        return frames.frame(frames.HEADERS, frames.END_HEADERS, self.stream, self.block(path)) + frames.frame(
            frames.DATA, frames.END_STREAM, self.stream, data
        )

    async def sent(self) -> list[Frame]:
        """What was written so far."""
        await asyncio.sleep(0)
        return parse(self.socket.written)

    async def answers(self) -> dict[int, bytes]:
        """The message of each stream that was answered in full."""
        found: dict[int, bytes] = {}
        ended = set()
        for frame in await self.sent():
            if frame.kind == frames.DATA:
                found[frame.stream] = found.get(frame.stream, b"") + frame.payload
            if frame.kind == frames.HEADERS and frame.flags & frames.END_STREAM:
                ended.add(frame.stream)
        return {stream: data[5:] for stream, data in found.items() if stream in ended}

    async def fault(self) -> frames.ErrorCode:
        """Why the connection was ended."""
        last = (await self.sent())[-1]
        assert last.kind == frames.GOAWAY, last
        assert self.socket.closed
        return frames.ErrorCode(struct.unpack(">II", last.payload[:8])[1])
