"""The transaction in hand: while one commits, the records of the next are read and joined."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from headrace.streams.delivery import Output, Sink
from headrace.streams.membership import Member


class Delivery:
    """Delivers one output at a time, on a thread of its own; or, if not `ahead`, at once.

    Whoever began one must call `settle` before the next. What goes on meanwhile must not be sent before that returned:
    if it raises, nothing of the output was committed.
    """

    def __init__(self, sink: Sink, *, ahead: bool) -> None:
        self._sink, self._thread = sink, ThreadPoolExecutor(1, "delivery") if ahead else None
        self._running: Future[None] | None = None
        self._then: Callable[[], None] = lambda: None

    @property
    def is_over(self) -> bool:
        """Whether one was begun and `settle` would not wait."""
        return self._running is not None and self._running.done()

    def begin(self, output: Output, member: Member, then: Callable[[], None]) -> None:
        """Deliver; `settle` calls `then` once it is committed."""
        if self._running is not None:
            raise RuntimeError("a delivery is in hand")
        self._then = then
        if self._thread is not None:
            self._running = self._thread.submit(self._sink.deliver, output, member)
            return
        self._running = Future()
        try:
            self._sink.deliver(output, member)
        except Exception as error:  # noqa: BLE001 - `settle` raises it
            self._running.set_exception(error)
        else:
            self._running.set_result(None)

    def settle(self) -> None:
        """Wait for the delivery that was begun, if one was, and raise what it raised."""
        running, self._running = self._running, None
        if running is None:
            return
        running.result()
        self._then()

    def close(self) -> None:
        """End the thread, once what it delivers is over."""
        if self._thread is not None:
            self._thread.shutdown()
