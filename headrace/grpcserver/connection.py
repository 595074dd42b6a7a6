"""One HTTP/2 connection, as a server: frames in, calls out; answers in, frames out.

What is received in one piece is looked at in one go, and what is answered meanwhile leaves in one write. Limits keep
what one peer can hold: header bytes, calls at a time, bytes of a message, bytes of all unfinished messages, cancelled
calls, and the time for which it may leave answers unread.
"""

import asyncio
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, cast

from headrace.grpcserver import frames
from headrace.grpcserver.calls import Call, Status, timeout_s
from headrace.grpcserver.frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_FRAME,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADER_BYTES,
    HEADERS,
    MAX_STREAM,
    MAX_WINDOW,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ConnectionFault,
    ErrorCode,
    Setting,
)
from headrace.grpcserver.headers import HeaderDecoder, Headers, literal
from headrace.grpcserver.outgoing import Outgoing
from headrace.runtime.logging import get_logger

if TYPE_CHECKING:
    from headrace.grpcserver.limits import Limits

log = get_logger("headrace.grpc")

_WRONG_TYPE = b"\x8d" + literal("content-length", "0")  # `:status: 404`: no gRPC was asked for
_UNSUPPORTED_MEDIA = literal(":status", "415")
_U32 = struct.Struct(">I")


class Calls(Protocol):
    """What answers calls: see `headrace.grpcserver.server`."""

    def begin(self, call: Call) -> None:
        """A call's headers are there; its messages go to `call.on_message` from now on."""
        ...

    def opened(self, connection: "Connection") -> None:
        """A peer has connected."""
        ...

    def closed(self, connection: "Connection") -> None:
        """A connection is gone, and with it its calls."""
        ...


class Connection(asyncio.Protocol):
    """See the module. Implements `headrace.grpcserver.calls.Link`."""

    def __init__(self, calls: Calls, limits: "Limits") -> None:
        self.peer = ""
        self.max_message = limits.max_message_bytes
        self._server, self._limits = calls, limits
        self._loop = asyncio.get_running_loop()
        self._input = b""
        self._began = self._settled = False  # whether the preface came, and its SETTINGS
        self._closing = self._going_away = False
        self._timer: asyncio.TimerHandle | None = None
        self._headers = HeaderDecoder(limits.max_header_bytes)
        self._block: tuple[int, int, bytearray] | None = None  # stream, flags and bytes of headers that go on
        self._calls: dict[int, Call] = {}
        self._out = Outgoing(self._calls, self._loop)
        self._last = 0  # the highest stream that the peer has opened
        self._cancelled = 0
        self._unfinished = 0  # bytes of messages that are not complete
        self._window = limits.connection_window  # bytes that the peer may send
        self._owed = 0  # bytes that were received and not granted anew
        self._handlers: dict[int, Callable[[int, int, bytes], None]] = {
            DATA: self._on_data,
            HEADERS: self._on_headers,
            CONTINUATION: self._on_continuation,
            RST_STREAM: self._on_rst_stream,
            SETTINGS: self._on_settings,
            PING: self._on_ping,
            WINDOW_UPDATE: self._on_window_update,
            PRIORITY: self._on_ignored,
            GOAWAY: self._on_ignored,
            PUSH_PROMISE: self._on_push,
        }

    # The transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the peer, and wait for its greeting."""
        transport = cast("asyncio.Transport", transport)  # uvloop's is of no class of asyncio's
        self._out.transport = transport
        self._server.opened(self)
        peer = transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unix:"
        self._timer = self._loop.call_later(self._limits.preface_timeout_s, self.abort, "no preface")
        self._out.write(
            frames.settings(
                {
                    Setting.MAX_CONCURRENT_STREAMS: self._limits.max_calls,
                    Setting.INITIAL_WINDOW_SIZE: self._limits.stream_window,
                    Setting.MAX_FRAME_SIZE: self._limits.max_frame_bytes,
                    Setting.MAX_HEADER_LIST_SIZE: self._limits.max_header_bytes,
                }
            )
        )
        self._out.write(frames.window_update(0, self._limits.connection_window - DEFAULT_WINDOW))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter to the calls
        """End the calls: nobody is left to answer them to."""
        self._closing = True
        self._server.closed(self)
        self._stop_timer()
        calls = list(self._calls.values())
        self._calls.clear()
        for call in calls:
            call.reset(ErrorCode.CANCEL)
        self._out.wake()

    def pause_writing(self) -> None:
        """The peer does not read its answers: take no more calls from it, and cut it off if it stays so."""
        self._out.writable = False
        if self._out.transport is not None and not self._closing:
            self._out.transport.pause_reading()
            self._stop_timer()
            self._timer = self._loop.call_later(self._limits.write_timeout_s, self.abort, "answers are not read")

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._out.writable = True
        self._stop_timer()
        self._out.wake()
        if self._out.transport is not None and not self._closing:
            self._out.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Look at whatever is complete, then write what was answered."""
        self._input = self._input + data if self._input else data
        self._out.reading = True
        try:
            self._read()
        except ConnectionFault as fault:
            self._fault(fault)
        finally:
            self._out.reading = False
        self._out.flush()

    # Ending.

    def go_away(self) -> None:
        """Take no more calls; the peer opens them elsewhere."""
        if not self._going_away and not self._closing:
            self._going_away = True
            self._out.write(frames.goaway(self._last, ErrorCode.NO_ERROR))
            self._close_if_done()

    def close(self) -> None:
        """Close after what was written has left."""
        if self._out.transport is not None and not self._closing:
            self._out.flush()
            self._closing = True
            self._stop_timer()
            self._timer = self._loop.call_later(self._limits.write_timeout_s, self._out.transport.abort)
            self._out.transport.close()

    def abort(self, why: str) -> None:
        """Close at once; what was not sent is lost."""
        log.info("connection cut off", peer=self.peer, why=why)
        self._closing = True
        if self._out.transport is not None:
            self._out.transport.abort()

    def _close_if_done(self) -> None:
        if self._going_away and not self._calls:
            self.close()

    def _fault(self, fault: ConnectionFault) -> None:
        log.info("connection ended: the peer broke the protocol", peer=self.peer, code=fault.code.name, why=str(fault))
        self._out.write(frames.goaway(self._last, fault.code, str(fault)))
        self.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Reading.

    def _read(self) -> None:
        data, at = self._input, 0
        if not self._began:
            if not PREFACE.startswith(data[: len(PREFACE)]):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "this port speaks HTTP/2 (gRPC) with prior knowledge")
            if len(data) < len(PREFACE):
                return
            self._began, at = True, len(PREFACE)
            self._stop_timer()
        end, most = len(data), self._limits.max_frame_bytes
        while end - at >= HEADER_BYTES and not self._closing:
            length = int.from_bytes(data[at : at + 3])
            if length > most:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            body = at + HEADER_BYTES
            if end - body < length:
                break
            kind, flags = data[at + 3], data[at + 4]
            stream = int.from_bytes(data[at + 5 : body]) & MAX_STREAM
            at = body + length
            if self._block is not None and kind != CONTINUATION:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame amid the headers of another")
            if not self._settled:
                self._settle(kind, flags)
            handler = self._handlers.get(kind)
            if handler is not None:  # unknown ones are to be ignored
                handler(stream, flags, data[body:at])
        self._input = data[at:]

    def _settle(self, kind: int, flags: int) -> None:
        """The first frame after the preface must be SETTINGS."""
        if kind != SETTINGS or flags & ACK:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        self._settled = True

    def _on_data(self, stream: int, flags: int, payload: bytes) -> None:
        size = len(payload)
        self._window -= size
        if self._window < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection's window")
        self._owed += size
        if self._owed >= self._limits.connection_window // 2:
            self._out.write(frames.window_update(0, self._owed))
            self._window += self._owed
            self._owed = 0
        call = self._calls.get(stream)
        if call is None or call.received_all:
            if call is not None or stream > self._last or not stream & 1:
                raise ConnectionFault(ErrorCode.STREAM_CLOSED, f"data on stream {stream}, which is not open")
            return  # it was answered or cancelled while this was on its way
        call.credit -= size
        if call.credit < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"more data than the window of stream {stream}")
        if flags & frames.PADDED:
            payload = frames.unpadded(payload, flags)
        if flags & END_STREAM:
            self._complete(call, payload)
        elif not call.ended:
            self._unfinished += len(payload)
            call.unfinished += len(payload)
            if self._unfinished > self._limits.max_unfinished_bytes:
                call.fail(Status.RESOURCE_EXHAUSTED, "too many bytes of unfinished messages on this connection")
            else:
                call.receive(payload, end=False)
                if not call.unary:  # its complete messages are its method's concern, which bounds them by `hold`
                    self._unfinished += len(call.buffer) - call.unfinished
                    call.unfinished = len(call.buffer)

    def _complete(self, call: Call, payload: bytes) -> None:
        """The request has ended."""
        self._unfinished -= call.unfinished
        call.unfinished = 0
        call.received_all = True
        if not call.ended:
            call.receive(payload, end=True)

    # The link of calls; see `headrace.grpcserver.calls.Link`.

    def reply(self, call: Call, message: bytes, trailers: bytes) -> None:
        """See `Link.reply`."""
        self._out.reply(call, message, trailers)

    def send(self, call: Call, message: bytes) -> None:
        """See `Link.send`."""
        self._out.send(call, message)

    def finish(self, call: Call, trailers: bytes) -> None:
        """See `Link.finish`."""
        self._out.finish(call, trailers)

    async def drained(self, call: Call) -> None:
        """See `Link.drained`."""
        await self._out.drained(call)

    def over(self, call: Call) -> None:
        """See `Link.over`."""
        self._unfinished -= call.unfinished
        call.unfinished = 0
        if self._cancelled:
            self._cancelled -= 1
        if self._going_away:
            self._close_if_done()

    def consumed(self, call: Call, size: int) -> None:
        """See `Link.consumed`."""
        if not call.received_all and not call.ended and size:
            call.credit += size
            self._out.write(frames.window_update(call.stream, size))

    def _on_headers(self, stream: int, flags: int, payload: bytes) -> None:
        if flags & frames.PADDED:
            payload = frames.unpadded(payload, flags)
        if flags & frames.HAS_PRIORITY:
            if len(payload) < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without its priority")
            payload = payload[5:]
        if flags & END_HEADERS:
            self._open(stream, flags, payload)
        else:
            self._block = (stream, flags, bytearray(payload))

    def _on_continuation(self, stream: int, flags: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        _, first_flags, block = self._block
        block += payload
        if len(block) > self._limits.max_header_bytes or not (payload or flags & END_HEADERS):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "headers too large")
        if flags & END_HEADERS:
            self._block = None
            self._open(stream, first_flags, bytes(block))

    def _open(self, stream: int, flags: int, block: bytes) -> None:
        headers = self._headers.decode(block)  # even where they are of no use: the table goes on with them
        if stream <= self._last or not stream & 1:
            self._trailers(stream, flags)
            return
        self._last = stream
        if self._going_away or len(self._calls) >= self._limits.max_calls:
            self._out.write(frames.rst_stream(stream, ErrorCode.REFUSED_STREAM))
            return
        path = self._path(stream, headers)
        if path is None:
            return
        call = Call(self, stream, path, headers)
        call.window, call.credit = self._out.initial_window, self._limits.stream_window
        self._calls[stream] = call
        self._server.begin(call)
        timeout = call.header("grpc-timeout")
        if timeout and not call.ended:
            self._set_deadline(call, timeout)
        if flags & END_STREAM:
            self._complete(call, b"")

    def _path(self, stream: int, headers: Headers) -> str | None:
        """The method that is called; None, and an answer, where it is no gRPC call."""
        fields = dict(headers)
        if fields.get(":method") != "POST" or ":path" not in fields:
            self._out.write(frames.frame(HEADERS, END_HEADERS | END_STREAM, stream, _WRONG_TYPE))
            return None
        if not fields.get("content-type", "").startswith("application/grpc"):
            self._out.write(frames.frame(HEADERS, END_HEADERS | END_STREAM, stream, _UNSUPPORTED_MEDIA))
            return None
        return fields[":path"]

    def _set_deadline(self, call: Call, header: str) -> None:
        seconds = timeout_s(header)
        if seconds is None:
            call.fail(Status.INTERNAL, f"grpc-timeout {header!r} is no timeout")
        else:
            call.expire_with(self._loop.call_later(min(seconds, 1e7), call.expire))

    def _trailers(self, stream: int, flags: int) -> None:
        """Headers of a stream that was open before: a request's trailers, which gRPC does not use."""
        if not flags & END_STREAM or not stream & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"headers of stream {stream}, which is not new")
        call = self._calls.get(stream)
        if call is None:
            return
        if call.received_all:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, f"trailers of stream {stream} after its end")
        self._complete(call, b"")

    def _on_rst_stream(self, stream: int, _: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM")
        if not stream or stream > self._last:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "RST_STREAM of a stream that was never opened")
        call = self._calls.pop(stream, None)
        if call is None:
            return
        call.reset(ErrorCode.CANCEL)
        self._cancelled += 2  # `over` takes one back for every call that ends
        call.forgotten()
        self._out.wake()
        if self._cancelled > self._limits.max_cancelled:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many cancelled calls")

    def _on_settings(self, stream: int, flags: int, payload: bytes) -> None:
        if stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS of a stream")
        if flags & ACK:
            return
        for key, value in frames.parse_settings(payload):
            if key == Setting.INITIAL_WINDOW_SIZE:
                if value > MAX_WINDOW:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"a window of {value}")
                self._out.resize(value)
            elif key == Setting.MAX_FRAME_SIZE:
                if not DEFAULT_FRAME <= value <= frames.MAX_FRAME:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"frames of {value}")
                self._out.max_frame = value
        self._out.write(frames.frame(SETTINGS, ACK, 0))
        self._out.send_blocked()

    def _on_ping(self, stream: int, flags: int, payload: bytes) -> None:
        if stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING of a stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING")
        if not flags & ACK:
            self._out.write(frames.frame(PING, ACK, 0, payload))

    def _on_window_update(self, stream: int, _: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE")
        increment = _U32.unpack(payload)[0] & MAX_WINDOW
        if not increment or stream > self._last:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"WINDOW_UPDATE of {increment} for stream {stream}")
        self._out.widen(stream, increment)
        self._out.send_blocked()

    def _on_ignored(self, stream: int, flags: int, payload: bytes) -> None:
        """PRIORITY, and GOAWAY of a client that will close when its calls are answered."""

    def _on_push(self, _stream: int, _flags: int, _payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE of a client")
