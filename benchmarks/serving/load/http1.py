"""A raw HTTP/1.1 client: one request at a time on a connection that stays open."""

import asyncio
from collections.abc import Callable

from benchmarks.serving.load.answers import Checker, WrongAnswer

_LENGTH, _HEAD_LENGTH = b"\r\ncontent-length:", b"\r\ninference-header-content-length:"


class Http1(asyncio.Protocol):
    """One connection.

    Args:
        requests: head and body of each request.
        checker: of the answers.
        answered: told the tag of each request that was answered rightly, and this connection.
        failed: told what was wrong.
    """

    room = 1
    """Requests at once."""

    def __init__(
        self,
        requests: list[bytes],
        checker: Checker,
        answered: Callable[["Http1", float], None],
        failed: Callable[[str], None],
    ) -> None:
        self._requests, self._checker, self._answered, self._failed = requests, checker, answered, failed
        self._transport: asyncio.Transport | None = None
        self._request, self._tag = 0, 0.0
        self._buffer = b""
        self._whole = 0
        """Bytes of the answer in hand, once its head is read."""
        self._body_at = self._head_length = 0
        self.busy = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """Report a request that is never answered."""
        if self.busy:
            self._failed(f"the server closed the connection: {exc}")

    def send(self, request: int, tag: float) -> None:
        """Send a request; `tag` comes back with the answer."""
        self._request, self._tag, self.busy = request, tag, 1
        self._transport.write(self._requests[request])  # type: ignore[union-attr]

    def flush(self) -> None:
        """Do nothing: `send` writes."""

    def close(self) -> None:
        """Close the connection."""
        self.busy = 0
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take bytes in; at the answer's end check it."""
        self._buffer = data if not self._buffer else self._buffer + data
        try:
            if not self._whole and not self._read_head():
                return
            if len(self._buffer) < self._whole:
                return
            self._checker.check(self._request, self._body(), self._head_length)
        except WrongAnswer as error:
            self._failed(str(error))
            return
        self._buffer, self._whole, self.busy = b"", 0, 0
        self._answered(self, self._tag)

    def _body(self) -> bytes:
        if len(self._buffer) > self._whole:
            raise WrongAnswer(f"more bytes than the answer has: {self._buffer[self._whole :][:80]!r}")
        return self._buffer[self._body_at :]

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self._buffer[: end + 2].lower()
        if not head.startswith(b"http/1.1 200"):
            raise WrongAnswer(f"not status 200: {self._buffer[:400]!r}")
        length = _number(head, _LENGTH)
        if length is None:
            raise WrongAnswer(f"no content-length: {head!r}")
        self._head_length = _number(head, _HEAD_LENGTH) or 0
        self._body_at, self._whole = end + 4, end + 4 + length
        return True


def _number(head: bytes, name: bytes) -> int | None:
    at = head.find(name)
    if at < 0:
        return None
    at += len(name)
    return int(head[at : head.index(b"\r\n", at)])


def request(method: str, path: str, body: bytes, **headers: str) -> bytes:
    """A request as bytes; `headers` by names with underscores."""
    named = {"Host": "bench", "Content-Length": str(len(body)), **{k.replace("_", "-"): v for k, v in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body
