"""A raw gRPC client over HTTP/2: many requests at once on one connection, of frames that are made before.

The server is told that our decoder has no dynamic table, so that each block of headers stands for itself: a block seen
before need not be decoded again. Requests use no dynamic table either.
"""

import asyncio
import struct
from collections.abc import Callable

from hpack import Decoder, Encoder, HPACKError

from benchmarks.serving.load.answers import Checker, WrongAnswer

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
PADDED_OR_PRIORITY = 0x8 | 0x20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES = 16_384
_WINDOW = 1 << 30
_DEFAULT_WINDOW = 65_535


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame as bytes."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def headers_block(headers: list[tuple[str, str]]) -> bytes:
    """A block of headers that puts nothing into the decoder's table."""
    encoder = Encoder()
    encoder.header_table_size = 0
    return encoder.encode([(name, value, True) for name, value in headers])  # "never indexed"


class Blocks:
    """Decodes blocks of headers, each only once."""

    def __init__(self) -> None:
        self._known: dict[bytes, dict[str, str]] = {}

    def headers(self, block: bytes) -> dict[str, str]:
        """The headers of a block that uses no dynamic table.

        Raises:
            WrongAnswer: it does.
        """
        found = self._known.get(block)
        if found is None:
            decoder = Decoder()
            decoder.max_allowed_table_size = decoder.header_table_size = 0
            try:
                found = {_text(name): _text(value) for name, value in decoder.decode(block)}
            except HPACKError as error:
                raise WrongAnswer(f"a block of headers that needs a table: {error}") from error
            self._known[block] = found
        return found


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()


class Grpc(asyncio.Protocol):
    """One connection of unary gRPC calls.

    Args:
        path: /package.Service/Method.
        requests: messages.
        checker: of the answers.
        answered: told the tag of each request that was answered rightly, and this connection.
        failed: told what was wrong.
        room: requests at once.
    """

    def __init__(
        self,
        path: str,
        requests: list[bytes],
        checker: Checker,
        answered: Callable[["Grpc", float], None],
        failed: Callable[[str], None],
        *,
        room: int,
    ) -> None:
        self.room, self.busy = room, 0
        self._checker, self._answered, self._failed = checker, answered, failed
        self._parts = _prepared(path, requests)
        self._blocks = Blocks()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._stream = -1
        self._calls: dict[int, list] = {}  # [request, tag, status seen, message so far]
        self._out: list[bytes] = []
        self._window = _DEFAULT_WINDOW
        self._waiting: list[tuple[int, bytes]] = []
        """Calls that the connection's window has no room for, as (bytes of data, frames)."""
        self._taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the preface, and open our windows wide."""
        self._transport = transport  # type: ignore[assignment]
        settings = b"".join(struct.pack(">HI", *pair) for pair in ((1, 0), (2, 0), (4, _WINDOW)))
        grown = struct.pack(">I", _WINDOW - _DEFAULT_WINDOW)
        self._transport.write(PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, grown))  # type: ignore[union-attr]

    def connection_lost(self, exc: Exception | None) -> None:
        """Report calls that are never answered."""
        if self._calls:
            self._failed(f"the server closed the connection: {exc}")

    def send(self, request: int, tag: float) -> None:
        """Begin a call; it is written by `flush`, and before this connection waits for bytes."""
        self._stream += 2
        self.busy += 1
        self._calls[self._stream] = [request, tag, False, b""]
        size, head, tail = self._parts[request]
        stream = self._stream.to_bytes(4, "big")
        call = head[0] + stream + head[1] + stream + tail
        if self._window >= size and not self._waiting:
            self._window -= size
            self._out.append(call)
        else:
            self._waiting.append((size, call))

    def flush(self) -> None:
        """Write what was begun."""
        while self._waiting and self._window >= self._waiting[0][0]:
            size, call = self._waiting.pop(0)
            self._window -= size
            self._out.append(call)
        if self._out:
            self._transport.write(b"".join(self._out))  # type: ignore[union-attr]
            self._out.clear()

    def close(self) -> None:
        """Close the connection."""
        self._calls.clear()
        self.busy = 0
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take frames in."""
        data = self._buffer + data if self._buffer else data
        at, end = 0, len(data)
        try:
            while end - at >= 9:
                size = int.from_bytes(data[at : at + 3], "big")
                if end - at < 9 + size:
                    break
                stream = int.from_bytes(data[at + 5 : at + 9], "big")
                self._frame(data[at + 3], data[at + 4], stream, data[at + 9 : at + 9 + size])
                at += 9 + size
        except WrongAnswer as error:
            self._failed(str(error))
            return
        self._buffer = data[at:]
        self.flush()

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            if flags & 0x8:
                raise WrongAnswer("a padded frame")
            self._calls[stream][3] += payload
            self._count(len(payload))
            if flags & END_STREAM:
                raise WrongAnswer("an answer without trailers")
        elif kind == HEADERS:
            if flags & PADDED_OR_PRIORITY or not flags & END_HEADERS:
                raise WrongAnswer("headers that are padded, prioritised or in several frames")
            self._headers(flags, stream, payload)
        else:
            self._control(kind, flags, stream, payload)

    def _count(self, size: int) -> None:
        """Give the connection's window back, rarely."""
        self._taken += size
        if self._taken > _WINDOW // 2:
            self._out.append(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self._taken)))
            self._taken = 0

    def _headers(self, flags: int, stream: int, block: bytes) -> None:
        call, headers = self._calls[stream], self._blocks.headers(block)
        if not call[2]:
            call[2] = True
            if headers.get(":status") != "200":
                raise WrongAnswer(f"HTTP status {headers.get(':status')}")
        if not flags & END_STREAM:
            return
        if headers.get("grpc-status") != "0":
            raise WrongAnswer(f"gRPC status {headers.get('grpc-status')}: {headers.get('grpc-message', '')}")
        request, tag, _, message = self._calls.pop(stream)
        self.busy -= 1
        if len(message) < 5 or message[0] or int.from_bytes(message[1:5], "big") != len(message) - 5:
            raise WrongAnswer(f"not one uncompressed message: {message[:40]!r}")
        self._checker.check(request, message[5:])
        self._answered(self, tag)

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE:
            if not stream:  # a stream's own window is never used up: a request is smaller than what it begins with
                self._window += int.from_bytes(payload, "big")
        elif kind == SETTINGS and not flags & ACK:
            self._out.append(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self._out.append(frame(PING, ACK, 0, payload))
        elif kind in (RST_STREAM, GOAWAY):
            raise WrongAnswer(f"the server ended {'a stream' if kind == RST_STREAM else 'the connection'}: {payload!r}")


def _prepared(path: str, requests: list[bytes]) -> list[tuple[int, tuple[bytes, bytes], bytes]]:
    """Of each request the bytes of its data, and its two frames without the stream's number."""
    block = headers_block([
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "bench"), ("te", "trailers"),
        ("content-type", "application/grpc"), ("user-agent", "headrace-bench"),
    ])  # fmt: skip
    made = []
    for request in requests:
        message = b"\0" + len(request).to_bytes(4, "big") + request
        if len(message) > FRAME_BYTES:
            raise ValueError(f"a request of {len(request)} bytes does not fit one frame")
        head = len(block).to_bytes(3, "big") + bytes((HEADERS, END_HEADERS))
        data = block + len(message).to_bytes(3, "big") + bytes((DATA, END_STREAM))
        made.append((len(message), (head, data), message))
    return made
