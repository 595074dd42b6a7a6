"""What a connection sends: answers, within the windows that the peer grants, in as few writes as possible.

What is written while the connection reads leaves when it has read everything; other answers leave at the end of the
event loop's turn.
"""

import asyncio
import struct
from collections import deque

from headrace.grpcserver import frames
from headrace.grpcserver.calls import Call
from headrace.grpcserver.frames import DATA, END_HEADERS, END_STREAM, HEADERS, MAX_WINDOW, ConnectionFault, ErrorCode
from headrace.grpcserver.headers import literal

_RESPONSE = b"\x88" + literal("content-type", "application/grpc")  # \x88: `:status: 200` of the static table
_U32 = struct.Struct(">I")
_PREFIX = struct.Struct(">BI")


class Outgoing:
    """See the module.

    Args:
        calls: the connection's open calls by stream; a call leaves it when it was answered.
        loop: the event loop of the connection.
    """

    def __init__(self, calls: dict[int, Call], loop: asyncio.AbstractEventLoop) -> None:
        self.transport: asyncio.Transport | None = None
        self.reading = False  # whether the connection will call `flush` soon
        self.initial_window = self.window = frames.DEFAULT_WINDOW
        self.max_frame = frames.DEFAULT_FRAME
        self.writable = True  # whether the socket takes what is written
        self._calls, self._loop = calls, loop
        self._output: list[bytes] = []
        self._flushing = False
        self._blocked: deque[Call] = deque()  # calls with data that waits for a window
        self._waiters: list[asyncio.Future[None]] = []

    def write(self, data: bytes) -> None:
        """Send frames."""
        self._output.append(data)
        if not self.reading and not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Hand what was written to the socket."""
        self._flushing = False
        if self._output:
            data = b"".join(self._output)
            self._output.clear()
            if self.transport is not None and not self.transport.is_closing():
                self.transport.write(data)

    # Answers.

    def reply(self, call: Call, message: bytes, trailers: bytes) -> None:
        """Headers, one message and trailers, as one write where the windows allow."""
        size = len(message) + _PREFIX.size
        if call.initial or size > call.window or size > self.window or size > self.max_frame:
            self.send(call, message)
            self.finish(call, trailers)
            return
        self.window -= size
        stream = _U32.pack(call.stream)
        self.write(
            b"\0\0%c\1\4%b%b%b\0\0%b\0%b%b%b\1\5%b%b"
            % (
                len(_RESPONSE), stream, _RESPONSE,
                _U32.pack(size)[1:], stream, _U32.pack(len(message)), message,
                _U32.pack(len(trailers))[1:], stream, trailers,
            )
        )  # fmt: skip
        self._forget(call)

    def send(self, call: Call, message: bytes) -> None:
        """One message, after the headers if they were not sent yet."""
        if not call.initial:
            call.initial = True
            self.write(frames.frame(HEADERS, END_HEADERS, call.stream, _RESPONSE))
        waiting = bool(call.pending)
        call.pending += _PREFIX.pack(0, len(message)) + message
        if not waiting:
            self._send_pending(call)
            if call.pending:
                self._blocked.append(call)

    def finish(self, call: Call, trailers: bytes) -> None:
        """The trailers, after whatever waits to be sent of the call."""
        if not call.initial:  # "trailers-only": headers and trailers are one
            call.initial = True
            trailers = _RESPONSE + trailers
        if call.pending:
            call.ending = trailers
        else:
            self._end(call, trailers)

    async def drained(self, call: Call) -> None:
        """Wait until what was sent of the call has left, or the call is over."""
        while call.stream in self._calls and (call.pending or not self.writable):
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    def _end(self, call: Call, trailers: bytes) -> None:
        self.write(frames.frame(HEADERS, END_HEADERS | END_STREAM, call.stream, trailers))
        self._forget(call)

    def _forget(self, call: Call) -> None:
        """A stream that was answered is over; where the peer still sends, it is told that nothing more is read."""
        if not call.received_all:
            self.write(frames.rst_stream(call.stream, ErrorCode.NO_ERROR))
        self._calls.pop(call.stream, None)
        call.forgotten()

    # Windows.

    def resize(self, initial: int) -> None:
        """The peer changed the initial window of streams, and with it that of open ones.

        Raises:
            ConnectionFault: a window overflows.
        """
        change, self.initial_window = initial - self.initial_window, initial
        for call in self._calls.values():
            call.window += change
            if call.window > MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"the window of stream {call.stream} overflows")

    def widen(self, stream: int, increment: int) -> None:
        """The peer takes so many more bytes, of a stream or (0) of all.

        Raises:
            ConnectionFault: a window overflows.
        """
        if not stream:
            self.window += increment
        elif (call := self._calls.get(stream)) is not None:
            call.window += increment
        if self.window > MAX_WINDOW or (stream and call is not None and call.window > MAX_WINDOW):
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"the window of stream {stream} overflows")

    def send_blocked(self) -> None:
        """Send what had to wait for a window, call after call in turn."""
        for _ in range(len(self._blocked)):
            call = self._blocked.popleft()
            if call.stream not in self._calls:
                continue
            self._send_pending(call)
            if call.pending:
                self._blocked.append(call)
            elif call.ending is not None:
                self._end(call, call.ending)
        self.wake()

    def wake(self) -> None:
        """Let those look again who wait in `drained`."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _send_pending(self, call: Call) -> None:
        """Send as much of a call's data as both windows take."""
        pending = call.pending
        room = max(0, min(call.window, self.window, len(pending)))
        call.window -= room
        self.window -= room
        for at in range(0, room, self.max_frame):
            self.write(frames.frame(DATA, 0, call.stream, bytes(pending[at : min(at + self.max_frame, room)])))
        del pending[:room]
