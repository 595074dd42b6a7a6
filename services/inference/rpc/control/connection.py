"""A connection between the role's main process and one of its workers, over which either asks the other.

Messages are msgpack, each after its length in four bytes.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from headrace.runtime.logging import get_logger

log = get_logger("headrace.rpc")

ANSWER_S = 10.0
"""For so long an answer is waited for: an operation takes microseconds, but the process may be at work."""
_MOST_BYTES = 1 << 26
UNAVAILABLE = "Unavailable"


class Refusal(Exception):  # noqa: N818 - what an answer may be
    """The other end does not do it.

    `kind` names a class of `services.inference.oip.messages`. That is not imported here: the main process needs none
    of what it imports.
    """

    def __init__(self, kind: str, said: str) -> None:
        super().__init__(said)
        self.kind = kind


class Ask(msgspec.Struct, tag=True, array_like=True):
    """Do this; `number` names the answer."""

    number: int
    name: str
    arguments: list[Any]


class Done(msgspec.Struct, tag=True, array_like=True):
    """It is done."""

    number: int
    value: Any


class Refused(msgspec.Struct, tag=True, array_like=True):
    """It is not done; see `Refusal`."""

    number: int
    kind: str
    error: str


_DECODER = msgspec.msgpack.Decoder(Ask | Done | Refused)
Handle = Callable[["Connection", str, list[Any]], Awaitable[Any]]


class Connection:
    """One end.

    Args:
        reader, writer: the stream.
        handle: does what the other end asks, each in a task of its own; what it raises but `Refusal` is a fault.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handle: Handle) -> None:
        self._reader, self._writer, self._handle = reader, writer, handle
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.lost = False

    async def ask(self, name: str, arguments: Sequence[Any], timeout_s: float = ANSWER_S) -> Any:
        """What the other end answers.

        Raises:
            Refusal: it refuses, is gone, or does not answer.
        """
        if self.lost:
            raise Refusal(UNAVAILABLE, f"'{name}' was not done: the process is gone")
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send(Ask(number, name, list(arguments)))
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError as error:
            said = f"'{name}' may not be done yet: a process did not answer in {timeout_s:g} s"
            raise Refusal(UNAVAILABLE, said) from error
        finally:
            self._waiting.pop(number, None)

    async def serve(self) -> None:
        """Take what comes, until the other end is gone."""
        try:
            while True:
                size = int.from_bytes(await self._reader.readexactly(4))
                if size > _MOST_BYTES:
                    break
                self._take(_DECODER.decode(await self._reader.readexactly(size)))
        except (asyncio.IncompleteReadError, OSError, msgspec.DecodeError):
            pass  # it has ended, or is nobody that we know
        finally:
            self._end()

    async def close(self) -> None:
        """Let the other end go."""
        self._end()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def _take(self, message: Ask | Done | Refused) -> None:
        if isinstance(message, Ask):
            task = asyncio.create_task(self._answer(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        waiting = self._waiting.get(message.number)
        if waiting is None or waiting.done():
            return
        if isinstance(message, Done):
            waiting.set_result(message.value)
        else:
            waiting.set_exception(Refusal(message.kind, message.error))

    async def _answer(self, asked: Ask) -> None:
        answer: Done | Refused
        try:
            answer = Done(asked.number, await self._handle(self, asked.name, asked.arguments))
        except Refusal as error:
            answer = Refused(asked.number, error.kind, str(error))
        except Exception:
            log.exception("an operation failed", operation=asked.name)
            answer = Refused(asked.number, "ModelFailed", "internal error")
        self._send(answer)

    def _send(self, message: Ask | Done | Refused) -> None:
        if not self.lost:
            body = msgspec.msgpack.encode(message)
            self._writer.write(len(body).to_bytes(4) + body)

    def _end(self) -> None:
        self.lost = True
        self._writer.close()
        for task in self._tasks:
            task.cancel()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Refusal(UNAVAILABLE, "the process is gone"))
