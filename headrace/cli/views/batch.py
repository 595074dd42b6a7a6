"""How a batch job goes on: a bar on a terminal, a line every few seconds elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from headrace.batch.job import Version

_EVERY_S = 5.0


class ProgressView:
    """Shows rows done, rows a second and the time that is left, on standard error."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._total = self._done = self._bad = self._before = 0
        self._began = self._told = time.monotonic()
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begun(self, version: Version, total: int, done: int) -> None:
        """See `headrace.batch.run.Observer`."""
        which = f"version {version.version}" if version.version else "weights from a file"
        self._total, self._done, self._before, self._began = total, done, done, time.monotonic()
        resumed = f", {done:,} are done already" if done else ""
        self._say(f"{version.model}, {which}, checkpoint {version.checkpoint}: {total:,} rows{resumed}")
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(), console=self._console,
            )  # fmt: skip
            self._task = self._bar.add_task("predicting", total=total, completed=done, rate="")
            self._bar.start()

    def rows(self, read: int, bad: int) -> None:
        """See `headrace.batch.run.Observer`."""
        self._done, self._bad = self._done + read, self._bad + bad
        if self._bar is not None:
            rejected = f", {self._bad:,} rejected" if self._bad else ""
            self._bar.update(self._task, completed=self._done, rate=f"{self._rate:,.0f} rows/s{rejected}")
        elif time.monotonic() - self._told > _EVERY_S:
            self._told = time.monotonic()
            left = (self._total - self._done) / self._rate if self._rate else 0
            self._say(
                f"{self._done:,} of {self._total:,} rows, {self._rate:,.0f} rows/s, {self._bad:,} rejected, "
                f"{max(0.0, left):.0f} s left"
            )

    def assembling(self) -> None:
        """See `headrace.batch.run.Observer`."""
        if self._bar is not None:
            self._bar.update(self._task, description="writing the output")

    @property
    def _rate(self) -> float:
        return (self._done - self._before) / max(1e-6, time.monotonic() - self._began)

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)
