"""Following the predictions over a WebSocket: what server-sent events send, as one JSON message each.

    {"id": "0:17,1:4", "event": "prediction", "data": {...}}      the prediction, and the position after it
    {"id": "0:17,1:4", "event": "dropped", "data": {"reason": ...}}    the last message; also `closed` and `error`

A client changes the keys that it follows by message: `{"keys": ["a", "b"]}`, or `{"keys": null}` for all. The answer is
`{"event": "keys", "data": {"keys": [...]}}`; predictions that were on their way before it may still come.

The connection is closed with 1013 where the client reads too slowly, 1001 where the gateway stops, 1011 where the
predictions cannot be read, and 1007 where a message is not what is said above.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from services.gateway.errors import BadRequestError
from services.gateway.fanout import Choice, keys_of

SEND_S = 20.0
"""Seconds for which a client may leave one message unread while the buffers of its connection are full."""

_CLOSE_S = 1.0
_CODES = {"dropped": 1013, "closed": 1001, "error": 1011}
_BAD_MESSAGE, _TOO_SLOW, _DONE = 1007, 1013, 1000
_REASON_BYTES = 120  # a close frame has room for 123


class _Change(msgspec.Struct, forbid_unknown_fields=True):
    """What a client may send."""

    keys: list[str] | None


class _Slow(Exception):  # noqa: N818 - what the sender is left by
    """The client does not read."""


_CHANGE = msgspec.json.Decoder(_Change)


class Following:
    """One client. `frames` are its server-sent events; its messages change `choice`, which chooses them."""

    def __init__(
        self, socket: WebSocket, frames: AsyncGenerator[bytes], choice: Choice, *, send_s: float = SEND_S
    ) -> None:
        self._socket, self._frames, self._choice, self._send_s = socket, frames, choice, send_s

    async def run(self) -> None:
        """Send until the stream ends, the client goes away, or it does not read. The frames are closed afterwards."""
        sending = asyncio.create_task(self._send_all())
        receiving = asyncio.create_task(self._receive_all())
        try:
            await asyncio.wait([sending, receiving], return_when=asyncio.FIRST_COMPLETED)
            first = sending if sending.done() else receiving
            await self._end(first)
        finally:
            for task in (sending, receiving):
                task.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)
            await self._frames.aclose()

    async def _end(self, ended: "asyncio.Task[tuple[int, str]]") -> None:
        """Close the connection with the reason."""
        try:
            code, reason = ended.result()
        except WebSocketDisconnect:
            return
        except BadRequestError as error:
            code, reason = _BAD_MESSAGE, str(error)
        except _Slow:
            code, reason = _TOO_SLOW, "too slow: reconnect with Last-Event-ID to go on"
        with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError):  # it is gone already
            text = reason.encode()[:_REASON_BYTES].decode(errors="ignore")
            await asyncio.wait_for(self._socket.close(code, text), _CLOSE_S)

    async def _send_all(self) -> tuple[int, str]:
        """Send the frames; return how the connection is to be closed."""
        event, reason = "", ""
        async for frames in self._frames:
            for identifier, event, data in events(frames):
                await self._send(message(identifier, event, data))
                reason = data.decode(errors="replace")
        return _CODES.get(event, _DONE), _reason_in(reason)

    async def _send(self, text: str) -> None:
        try:
            await asyncio.wait_for(self._socket.send_text(text), self._send_s)
        except TimeoutError as error:
            raise _Slow from error

    async def _receive_all(self) -> tuple[int, str]:
        """Take the client's messages until it goes away."""
        while True:
            received = await self._socket.receive()
            if received["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(received.get("code", 1005))
            text = received.get("text")
            self._choice.keys = wanted_keys(received.get("bytes") or b"" if text is None else text)
            keys = None if self._choice.keys is None else sorted(key.decode() for key in self._choice.keys)
            await self._send(msgspec.json.encode({"event": "keys", "data": {"keys": keys}}).decode())


def wanted_keys(sent: str | bytes) -> frozenset[bytes] | None:
    """The keys that a client's message asks for; None for all.

    Raises:
        BadRequestError: it is not such a message, or asks for too many.
    """
    try:
        wanted = _CHANGE.decode(sent).keys
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BadRequestError(f'a message is {{"keys": [...]}} or {{"keys": null}}: {error}') from error
    return None if wanted is None else keys_of(wanted)


def events(frames: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Id, event and data of each frame, as services/gateway/fanout.py makes them."""
    for frame in frames.split(b"\n\n"):
        if frame:
            head, _, data = frame.partition(b"\ndata: ")
            identifier, _, event = head.decode().partition("\nevent: ")
            yield identifier.removeprefix("id: "), event, data


def message(identifier: str, event: str, data: bytes) -> str:
    """An event as a message. Data that is not JSON, which Headrace does not write, goes as a string."""
    try:
        content: object = msgspec.Raw(data)
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError):
        content = data.decode(errors="replace")
    return msgspec.json.encode({"id": identifier, "event": event, "data": content}).decode()


def _reason_in(data: str) -> str:
    with contextlib.suppress(msgspec.DecodeError):
        content = msgspec.json.decode(data)
        if isinstance(content, dict):
            return str(content.get("reason", ""))
    return ""
