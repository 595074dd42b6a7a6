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
    """Hand a part's batches over; none more once a part could not be written, which its future says."""
    last: BaseException | None = None
    try:
        for one in runner.predicted(part, on_rows):
            if not _put(batches, one, writing):
                last = RuntimeError("a part before could not be written")
                return
    except BaseException as error:
        last = error
        raise
    finally:
        _end(batches, last, writing[-1])


def _put(batches: _Batches, one: Predicted, writing: Sequence[Future[PartResult]]) -> bool:
    while not any(future.done() and future.exception() is not None for future in writing):
        try:
            batches.put(one, timeout=_LOOK_S)
        except queue.Full:
            continue
        return True
    return False


def _end(batches: _Batches, last: BaseException | None, writing: Future[PartResult]) -> None:
    """Say that the part's batches have all come, or why no more come; one that is not begun need not be then."""
    if last is not None and writing.cancel():
        return
    while not writing.done():
        try:
            batches.put(last, timeout=_LOOK_S)
        except queue.Full:
            continue
        return
