"""Followers of the queues' counts: one text, made once, goes to all of them."""

import asyncio
from collections.abc import AsyncIterator

from sse_starlette import ServerSentEvent

from services.labelling.errors import LabellingError


class TooManyError(LabellingError):
    """As many follow as the settings allow."""

    status = 429


class Followers:
    """Who follows. `tell` may be called from any thread, everything else from the event loop's."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._newest = b""
        self._waiting: dict[asyncio.Event, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Take what is told from now on; called inside the event loop."""
        self._loop = asyncio.get_running_loop()

    def tell(self, queues: bytes) -> None:
        """The counts have changed."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._take, queues)

    def follow(self) -> AsyncIterator[ServerSentEvent]:
        """The counts of now, and again after each change; a slow reader misses those in between.

        Raises:
            TooManyError: too many follow already.
        """
        if len(self._waiting) >= self._most:
            raise TooManyError(f"{self._most} readers follow the queues, as many as --max-followers allows")
        changed = asyncio.Event()
        if self._newest:
            changed.set()
        self._waiting[changed] = None
        return self._frames(changed)

    async def _frames(self, changed: asyncio.Event) -> AsyncIterator[ServerSentEvent]:
        try:
            while True:
                await changed.wait()
                changed.clear()
                yield ServerSentEvent(self._newest.decode(), event="queues")
        finally:
            self._waiting.pop(changed, None)

    def _take(self, queues: bytes) -> None:
        self._newest = queues
        for changed in self._waiting:
            changed.set()
