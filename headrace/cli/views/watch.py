"""Watching a run until it is to end: the loop behind `demo` and `up`, with a live board or one line at a time."""

import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from headrace.cli.views.board import PRODUCE, Board, addresses, page_address
from headrace.cli.views.one_line import plain
from headrace.contracts.snapshot import Snapshot
from headrace.launch.observe import Logs, View
from headrace.launch.pipeline_run import Drained, PipelineRun
from headrace.launch.specs import State

BOARD_S, PLAIN_S = 0.5, 2.0
DRAIN_S = 30.0
OVERDUE_S = 90.0
"""A run that has predicted nothing after so many seconds counts as running all the same."""


class Interrupts:
    """Counts SIGINT, SIGTERM and SIGHUP: the first ends the watching, the second the draining.

    Before `started` is called, the first one raises KeyboardInterrupt, so that a start can be interrupted too.
    """

    def __init__(self) -> None:
        self.count = 0
        self._raises = True
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self._raises:
            self._raises = False  # from here on the run is stopped in order
            raise KeyboardInterrupt

    def started(self) -> None:
        """From now on, only count."""
        self._raises = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


@dataclass
class Watcher:
    """Shows a run's state again and again."""

    run: PipelineRun
    title: str
    interrupts: Interrupts
    as_lines: bool
    since: float = field(default_factory=time.monotonic)
    snapshot: Snapshot | None = None

    def __post_init__(self) -> None:
        self._logs = Logs(self.run.run_dir / "logs")
        self._live: Live | None = None
        self._next_line = 0.0
        self._told = self._page_told = False
        self._predicting_since: float | None = None
        self._began_us = int((time.time() - (time.monotonic() - self.since)) * 1e6)

    @property
    def first_prediction_s(self) -> float | None:
        """Seconds from `since` to the first prediction of this run; None before it."""
        first_us = self.snapshot.versions.first_prediction_us if self.snapshot else 0
        return round((first_us - self._began_us) / 1e6, 1) if first_us > self._began_us else None

    @property
    def predicting_s(self) -> float:
        """Seconds since a first prediction was seen, or since it is overdue; 0 before that."""
        if self._predicting_since is None:
            return max(0.0, time.monotonic() - self.since - OVERDUE_S)
        return time.monotonic() - self._predicting_since

    def screen(self) -> AbstractContextManager[object]:
        """The live board's screen, for as long as there is something to show; nothing for lines."""
        if self.as_lines:
            return nullcontext()
        self._live = Live(screen=True, auto_refresh=False, console=Console(), redirect_stderr=False)
        return self._live

    def watch(self, done: Callable[[], bool], *, interrupts: int = 1) -> bool:
        """Show until `done`, or until that many interrupts; whether `done`.

        Raises:
            PlatformError: a server died, or a role failed for good.
        """
        while self.interrupts.count < interrupts:
            self.look()
            if done():
                return True
            self.run.check()
            time.sleep(BOARD_S)
        return False

    def look(self) -> None:
        """One look at everything, shown."""
        self.snapshot = self.run.snapshot() or self.snapshot
        if self._predicting_since is None and self.snapshot and self.snapshot.counts.predictions:
            self._predicting_since = time.monotonic()
        view = View(
            self.title, self.run.phase, time.monotonic() - self.since,
            self.run.statuses(), self.snapshot, self._logs.lines(),
        )  # fmt: skip
        if self._live is not None:
            self._live.update(Board(view), refresh=True)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + PLAIN_S
            self._tell_page(view)
            print(plain(view), flush=True)
            self._tell_addresses(view)

    def _tell_page(self, view: View) -> None:
        """Once, as soon as the gateway answers: before all other addresses."""
        address = page_address(view.roles)
        if address is not None and not self._page_told:
            self._page_told = True
            print(f"the page: {address}", flush=True)

    def _tell_addresses(self, view: View) -> None:
        """Once, when everything is up."""
        if (
            not self._told
            and view.phase == "running"
            and all(r.state is State.READY for r in view.roles if r.role != PRODUCE)
        ):
            self._told = True
            print("".join(f"{what}: {address}\n" for what, address in addresses(view.roles)), end="", flush=True)

    def drain(self) -> bool:
        """Stop the replay and wait until everything is predicted and joined, for `DRAIN_S`, or until an interrupt."""
        self.run.phase = "draining"
        self.run.stop_replay()
        drained, deadline, patience = Drained(), time.monotonic() + DRAIN_S, self.interrupts.count + 1
        finished = False

        def done() -> bool:
            nonlocal finished
            finished = self.run.replay_is_over and drained.check(self.snapshot)
            return finished or time.monotonic() > deadline

        self.watch(done, interrupts=patience)
        return finished


def is_terminal() -> bool:
    """Whether a person watches standard output."""
    return sys.stdout.isatty()
