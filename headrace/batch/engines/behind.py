"""Parts that are written behind: a thread writes and syncs one part while the next ones are predicted.

Waiting for the disk takes no processor, so it need not keep predictions waiting. At most `_AHEAD` batches wait.
"""

import queue
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from headrace.batch.engines.runner import OnRows, PartRunner
from headrace.batch.job import PartResult
from headrace.batch.predicting import Predicted

_AHEAD = 64
_LOOK_S = 0.1

_Batches = queue.Queue[Predicted | BaseException | None]


def written_behind(runner: PartRunner, parts: Sequence[int], on_rows: OnRows) -> Generator[PartResult, None, None]:
    """Do the parts, and yield each when it is on disk, in order. What ends this early leaves no part half written.

    Raises:
        Exception: what predicting or writing raises.
    """
    with ThreadPoolExecutor(1, "write-parts") as writer:
        waiting: list[Future[PartResult]] = []
        for part in parts:
            batches: _Batches = queue.Queue(_AHEAD)
            waiting.append(writer.submit(_write, runner, part, batches))
            _predict(runner, part, on_rows, batches, waiting)
            while waiting and waiting[0].done():
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def _write(runner: PartRunner, part: int, batches: _Batches) -> PartResult:
    return runner.write(part, _taken(batches))


def _taken(batches: _Batches) -> Iterator[Predicted]:
    while (one := batches.get()) is not None:
        if isinstance(one, BaseException):
            raise one  # the file that was begun is removed
        yield one


def _predict(
    runner: PartRunner, part: int, on_rows: OnRows, batches: _Batches, writing: Sequence[Future[PartResult]]
) -> None:
    """Hand a part's batches over; none more where a part cannot be written, which its future says."""
    try:
        for one in runner.predicted(part, on_rows):
            if not _put(batches, one, writing):
                return
    except BaseException as error:
        _put(batches, error, writing)
        raise
    _put(batches, None, writing)


def _put(batches: _Batches, one: Predicted | BaseException | None, writing: Sequence[Future[PartResult]]) -> bool:
    while True:
        if any(future.done() and future.exception() is not None for future in writing):
            return False
        try:
            batches.put(one, timeout=_LOOK_S)
        except queue.Full:
            continue
        return True
