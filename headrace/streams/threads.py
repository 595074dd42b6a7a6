"""A thread of one's own for calls that block, and may hang."""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class SingleThread:
    """Runs functions one after the other on a daemon thread.

    Unlike an executor's thread, which the interpreter joins at its end, one that hangs in a library does not keep the
    process from ending.
    """

    def __init__(self, name: str) -> None:
        self._queue: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def call(self, function: Callable[..., T], *arguments: Any, timeout: float | None = None) -> T:  # noqa: ASYNC109
        """What `function` returns, once the calls before it have ended.

        Raises:
            TimeoutError: it did not end within `timeout` seconds; it may still be running.
        """
        future: Future[T] = Future()
        self._queue.put((future, function, arguments))
        return await asyncio.wait_for(asyncio.wrap_future(future), timeout)

    def close(self) -> None:
        """End after the calls that wait."""
        self._queue.put(None)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            future, function, arguments = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = function(*arguments)
            except BaseException as error:  # noqa: BLE001 - handed to whoever asked
                future.set_exception(error)
            else:
                future.set_result(result)
