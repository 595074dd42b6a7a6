"""Threads in which one model is executed: daemons, so that an execution that never ends does not keep the process."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


class PredictThreads:
    """So many threads, started with the first work. `submit` and `close` belong to one thread."""

    def __init__(self, threads: int) -> None:
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._threads = [Thread(target=self._run, name=f"predict_{i}", daemon=True) for i in range(threads)]
        self._started = False

    def submit(self, work: Callable[[], T]) -> "Future[T]":
        """Have work done by the next thread that is free."""
        if not self._started:
            self._started = True
            for thread in self._threads:
                thread.start()
        future: Future[T] = Future()
        self._work.put((future, work))
        return future

    def close(self, grace_s: float) -> bool:
        """Take no more work, and wait so long for what is in hand; False where some of it has not ended."""
        if not self._started:
            return True
        for _ in self._threads:
            self._work.put(None)
        deadline = time.monotonic() + grace_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while (one := self._work.get()) is not None:
            future, work = one
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - whoever waits for the future is told
                future.set_exception(error)
            else:
                future.set_result(result)
            del one, future, work  # or the thread would keep its last work until the next
