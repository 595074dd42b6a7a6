"""Processes of this host: this one alone, or workers beside it, each of which is given a part at a time.

A worker's standard input closes when this process dies, however it dies; the worker then ends too.
"""

import queue
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from headrace.batch.engines.port import raise_if
from headrace.batch.engines.runner import OnRows, PartRunner
from headrace.batch.job import PartResult
from headrace.runtime.errors import ExitCode, HeadraceError
from headrace.runtime.logging import get_logger

log = get_logger("headrace.batch")

_ATTEMPTS = 3
_LOOK_S = 0.2
_CLOSE_S = 5.0


class Progress(msgspec.Struct, frozen=True, tag="rows"):
    """A worker has done so many rows more."""

    read: int
    bad: int


class Done(msgspec.Struct, frozen=True, tag="done"):
    """A worker's part is on disk."""

    result: PartResult


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """A worker cannot do its part: it would be the same the next time."""

    message: str
    hint: str
    exit_code: int


Message = Progress | Done | Failed


class WorkerFailed(HeadraceError):  # noqa: N818 - it is named for what it says
    """What a worker raised, or that workers die."""

    def __init__(self, message: str, hint: str, exit_code: int) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = ExitCode(exit_code)


class InProcess:
    """This process does one part after the other."""

    def __init__(self, runner: PartRunner) -> None:
        self._runner = runner

    def run(self, parts: Sequence[int], on_rows: OnRows, stop: threading.Event) -> Generator[PartResult, None, None]:
        """See `Engine.run`."""

        def observe(read: int, bad: int) -> None:
            raise_if(stop)
            on_rows(read, bad)

        for part in parts:
            raise_if(stop)
            yield self._runner.run(part, observe)


class _Died(NamedTuple):
    part: int
    exit_code: int


class Workers:
    """`count` processes of `headrace.batch.engines.worker`. One that dies is replaced, and its part done again."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count = folder, count
        self._news: queue.Queue[Message | _Died | BaseException | None] = queue.Queue()
        self._parts: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closing = False

    def run(self, parts: Sequence[int], on_rows: OnRows, stop: threading.Event) -> Generator[PartResult, None, None]:
        """See `Engine.run`."""
        for part in parts:
            self._parts.put(part)
        deaths: dict[int, int] = {}
        left, threads = len(parts), [self._start() for _ in range(min(self._count, len(parts)))]
        try:
            while left:
                raise_if(stop)
                try:
                    news = self._news.get(timeout=_LOOK_S)
                except queue.Empty:
                    continue
                if isinstance(news, Progress):
                    on_rows(news.read, news.bad)
                elif isinstance(news, Done):
                    left -= 1
                    yield news.result
                elif isinstance(news, _Died):
                    self._replace(news, deaths)
                    threads.append(self._start())
                elif news is not None:
                    raise _error(news)
        finally:
            self._close(threads)

    def _replace(self, died: _Died, deaths: dict[int, int]) -> None:
        deaths[died.part] = deaths.get(died.part, 0) + 1
        log.warning("a worker died, its part is done again", part=died.part, exit_code=died.exit_code)
        if deaths[died.part] == _ATTEMPTS:
            raise WorkerFailed(
                f"workers died {_ATTEMPTS} times over part {died.part}, the last with exit code {died.exit_code}",
                "is there enough memory? --workers 1, or a smaller --batch",
                ExitCode.INTERNAL,
            )
        self._parts.put(died.part)

    def _start(self) -> threading.Thread:
        thread = threading.Thread(target=self._drive, daemon=True)
        thread.start()
        return thread

    def _drive(self) -> None:
        """Start a worker and give it parts until there are no more."""
        try:
            process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "headrace.batch.engines.worker", str(self._folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            self._news.put(error)
            return
        with self._lock:
            self._processes.add(process)
            if self._closing:
                process.kill()
        try:
            while not self._closing:
                try:
                    part = self._parts.get(timeout=_LOOK_S)
                except queue.Empty:
                    continue
                if not self._one(process, part):
                    return
        finally:
            with self._lock:
                self._processes.discard(process)
            _end(process)

    def _one(self, process: "subprocess.Popen[bytes]", part: int) -> bool:
        """Have a part done; False if the worker is of no more use."""
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the worker has no pipes")
        try:
            process.stdin.write(b"%d\n" % part)
            process.stdin.flush()
        except OSError:
            self._news.put(_Died(part, process.wait()))
            return False
        for line in process.stdout:
            message = _DECODER.decode(line)
            self._news.put(message)
            if not isinstance(message, Progress):
                return isinstance(message, Done)
        self._news.put(_Died(part, process.wait()))
        return False

    def _close(self, threads: list[threading.Thread]) -> None:
        with self._lock:
            self._closing = True
            for process in self._processes:
                process.kill()  # a part is whole or not there: a worker has nothing to finish
        for thread in threads:
            thread.join(_CLOSE_S)


def _end(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                continue
    process.kill()
    process.wait()


def _error(news: object) -> BaseException:
    if isinstance(news, Failed):
        return WorkerFailed(news.message, news.hint, news.exit_code)
    return news if isinstance(news, BaseException) else RuntimeError(repr(news))


_DECODER: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
