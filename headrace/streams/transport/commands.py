"""Work for the poll thread, from other threads."""

import queue
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import Consumer

T = TypeVar("T")


class Commands:
    """Functions that wait to be called with the consumer, and the futures of what they return."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = queue.SimpleQueue()
        self._closed = False

    def put(self, function: Callable[..., T], *arguments: Any) -> "Future[T]":
        """Have `function(consumer, *arguments)` called; cancelled when nobody serves any more."""
        future: Future[T] = Future()
        self._queue.put((future, function, arguments))
        if self._closed:
            self.cancel()
        return future

    def serve(self, consumer: Consumer, wait: float = 0.0) -> None:
        """Call everything that waits; wait up to `wait` seconds for the first.

        What a function raises goes to its future.
        """
        while True:
            try:
                future, function, arguments = self._queue.get(timeout=wait) if wait else self._queue.get_nowait()
            except queue.Empty:
                return
            wait = 0.0
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function(consumer, *arguments))
            except Exception as error:  # noqa: BLE001 - handed to whoever asked
                future.set_exception(error)

    def cancel(self) -> None:
        """Cancel everything that waits, and whatever comes."""
        self._closed = True
        while not self._queue.empty():
            self._queue.get()[0].cancel()
