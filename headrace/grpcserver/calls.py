"""One gRPC call: its message in, its answer out. See gRPC's "gRPC over HTTP2" for the framing and the headers.

A call is unary or streaming on the way in, and answers in the same way whatever it was:

- `reply(message)` answers a unary call and ends it.
- `send(message)` ... `finish()` streams answers.
- `fail(status, details)` ends it with an error.

After its end, whichever side brought it about, nothing more is sent: all three do nothing.
"""

import base64
import binascii
import zlib
from asyncio import TimerHandle
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from headrace.grpcserver.headers import Headers, literal

if TYPE_CHECKING:
    from headrace.grpcserver.frames import ErrorCode

PREFIX_BYTES = 5
_HELD = 1 << 20
_WINDOW_BITS = {"gzip": 31, "deflate": 15}
_TIMEOUT_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT_DIGITS = 8


class Status(IntEnum):
    """gRPC's status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class MessageError(Exception):
    """A message that cannot be taken; `status` is what the caller is told."""

    def __init__(self, status: Status, details: str) -> None:
        super().__init__(details)
        self.status = status


class Link(Protocol):
    """What a call needs of its connection."""

    peer: str
    max_message: int

    def reply(self, call: "Call", message: bytes, trailers: bytes) -> None:
        """Send headers, one message and trailers; the call has ended."""
        ...

    def send(self, call: "Call", message: bytes) -> None:
        """Send one message, after the headers if they were not sent yet."""
        ...

    def finish(self, call: "Call", trailers: bytes) -> None:
        """Send the trailers after what was sent; the call has ended."""
        ...

    async def drained(self, call: "Call") -> None:
        """Wait until what was sent of the call has left, or the call is over."""
        ...

    def over(self, call: "Call") -> None:
        """The stream of the call is closed."""
        ...

    def consumed(self, call: "Call", size: int) -> None:
        """So many received bytes of the call are no longer held; the peer may send as many more."""
        ...


class Call:
    """A call. All of its methods belong to the event loop's thread.

    Attributes:
        path: `/package.Service/Method`.
        headers: as they came, pseudo-headers included.
        on_end: called once when the call ended before it was answered, with the reason: the caller cancelled, its
            connection went away, or the deadline passed.
    """

    __slots__ = (
        "_held",
        "_owed",
        "_timer",
        "buffer",
        "credit",
        "ended",
        "ending",
        "headers",
        "initial",
        "link",
        "on_end",
        "on_message",
        "path",
        "pending",
        "received_all",
        "stream",
        "trailing",
        "unary",
        "unfinished",
        "window",
    )

    def __init__(self, link: Link, stream: int, path: str, headers: Headers) -> None:
        self.link, self.stream, self.path, self.headers = link, stream, path, headers
        self.buffer = bytearray()
        self.on_message: Callable[[bytes | None], None] = _nobody
        """Gets each message, and None when no more will come."""
        self.on_end: Callable[[Status], None] | None = None
        self.unary = True
        self.ended = False
        self.received_all = False
        self.initial = False  # whether the headers were sent
        self.trailing: list[tuple[str, str]] | None = None
        self.window = 0  # bytes that the peer takes of this stream now
        self.credit = 0  # bytes that the peer may send of this stream now
        self.pending = bytearray()  # data that waits for a window
        self.ending: bytes | None = None  # the trailers that follow it
        self.unfinished = 0  # bytes of its incomplete message
        self._timer: TimerHandle | None = None
        self._held = self._owed = 0

    # The request.

    def metadata(self) -> list[tuple[str, str | bytes]]:
        """The caller's own headers, in order; those whose names end in -bin as bytes."""
        return [(name, _value(name, value)) for name, value in self.headers if not _reserved(name)]

    def header(self, name: str) -> str:
        """A header's value; "" where there is none."""
        for known, value in self.headers:  # a generator would cost three times as much
            if known == name:
                return value
        return ""

    def receive(self, data: bytes, *, end: bool) -> None:
        """Take bytes of the request; complete messages go to `on_message`."""
        self.received_all = end
        try:
            if self.unary:
                self._receive_unary(data, end=end)
            else:
                self._receive_stream(data, end=end)
        except MessageError as error:
            self.fail(error.status, str(error))

    def _receive_unary(self, data: bytes, *, end: bool) -> None:
        if end and not self.buffer:  # the whole message in one frame, as nearly always
            whole: bytes | bytearray = data
        else:
            self.buffer += data
            whole = self.buffer
        size = self._size(whole) if len(whole) >= PREFIX_BYTES else 0
        if len(whole) > PREFIX_BYTES + size:
            raise MessageError(Status.UNIMPLEMENTED, f"{self.path} takes one message")
        if not end:
            self.link.consumed(self, len(data))
            return
        if len(whole) < PREFIX_BYTES + size:
            raise MessageError(Status.INTERNAL, "the message is cut off")
        self.on_message(self._unpacked(whole[0], bytes(whole[PREFIX_BYTES:])))

    def _receive_stream(self, data: bytes, *, end: bool) -> None:
        buffer = self.buffer
        buffer += data
        while len(buffer) >= PREFIX_BYTES and not self.ended:
            size = self._size(buffer)
            if len(buffer) < PREFIX_BYTES + size:
                break
            flag, message = buffer[0], bytes(buffer[PREFIX_BYTES : PREFIX_BYTES + size])
            del buffer[: PREFIX_BYTES + size]
            self.on_message(self._unpacked(flag, message))
        self._owed += len(data)
        self.hold(0)
        if end and not self.ended:
            if buffer:
                raise MessageError(Status.INTERNAL, "the last message is cut off")
            self.on_message(None)

    def hold(self, size: int) -> None:
        """A method keeps so many more bytes of messages for later, fewer where negative.

        Beyond a bound the peer must wait.
        """
        self._held += size
        if self._held <= _HELD and self._owed and not self.ended:
            owed, self._owed = self._owed, 0
            self.link.consumed(self, owed)

    def _size(self, buffer: bytes | bytearray) -> int:
        size = int.from_bytes(buffer[1:PREFIX_BYTES])
        if size > self.link.max_message:
            raise MessageError(
                Status.RESOURCE_EXHAUSTED, f"a message of {size} bytes where {self.link.max_message} are allowed"
            )
        return size

    def _unpacked(self, flag: int, message: bytes) -> bytes:
        if not flag:
            return message
        bits = _WINDOW_BITS.get(self.header("grpc-encoding"))
        if bits is None:
            raise MessageError(Status.UNIMPLEMENTED, f"grpc-encoding {self.header('grpc-encoding')!r} is not supported")
        unpacker = zlib.decompressobj(bits)
        try:
            unpacked = unpacker.decompress(message, self.link.max_message)
        except zlib.error as error:
            raise MessageError(Status.INTERNAL, f"the compressed message is damaged: {error}") from error
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise MessageError(
                Status.RESOURCE_EXHAUSTED, f"the message is cut off or larger than {self.link.max_message}"
            )
        return unpacked

    # The answer.

    def reply(self, message: bytes) -> None:
        """Answer with one message, and end the call."""
        if not self.ended:
            self._over()
            self.link.reply(self, message, _OK if self.trailing is None else trailers(Status.OK, "", self.trailing))

    def send(self, message: bytes) -> None:
        """Answer with one message of several."""
        if not self.ended:
            self.link.send(self, message)

    def finish(self) -> None:
        """End a call whose messages were sent by `send`."""
        if not self.ended:
            self._over()
            self.link.finish(self, trailers(Status.OK, "", self.trailing or ()))

    def fail(self, status: Status, details: str) -> None:
        """End the call with an error."""
        if not self.ended:
            self._over()
            self.link.finish(self, trailers(status, details, self.trailing or ()))

    # Its end.

    def expire_with(self, timer: TimerHandle) -> None:
        """The timer of the caller's deadline; it is cancelled when the call ends."""
        self._timer = timer

    def expire(self) -> None:
        """The caller's deadline has passed."""
        self._abandon(Status.DEADLINE_EXCEEDED)

    def reset(self, _: "ErrorCode") -> None:
        """The caller cancelled, or is gone: there is nobody to answer."""
        if not self.ended:
            on_end = self.on_end
            self._over()
            if on_end is not None:
                on_end(Status.CANCELLED)

    def forgotten(self) -> None:
        """The stream is closed."""
        self.link.over(self)

    def _abandon(self, status: Status) -> None:
        if not self.ended:
            on_end = self.on_end
            self.fail(status, "the deadline passed before there was an answer")
            if on_end is not None:
                on_end(status)

    def _over(self) -> None:
        self.ended = True
        self.buffer = bytearray()
        self.on_message, self.on_end = _nobody, None  # both may refer to the call: no cycle is left for the collector
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _nobody(_: bytes | None) -> None:
    """Before a method was found."""


def timeout_s(header: str) -> float | None:
    """The value of `grpc-timeout` in seconds; None where it is no timeout."""
    digits, unit = header[:-1], header[-1:]
    if not digits.isascii() or not digits.isdigit() or len(digits) > _TIMEOUT_DIGITS or unit not in _TIMEOUT_UNITS:
        return None
    return int(digits) * _TIMEOUT_UNITS[unit]


def trailers(status: Status, details: str, metadata: Sequence[tuple[str, str]] = ()) -> bytes:
    """The header block that ends a call."""
    block = literal("grpc-status", str(int(status)))
    if details:
        block += literal("grpc-message", quote(details[:_DETAILS], safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"))
    return block + b"".join(literal(name.lower(), value) for name, value in metadata)


_DETAILS = 4096  # characters of an error's text at most: clients refuse large headers
_OK = trailers(Status.OK, "")


def _reserved(name: str) -> bool:
    return name.startswith((":", "grpc-")) or name in {"te", "content-type"}


def _value(name: str, value: str) -> str | bytes:
    if not name.endswith("-bin"):
        return value
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        return value.encode("latin-1")
