"""How far the fetching is: a bar for people, plain lines for logs. On stderr, so that stdout stays for results."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

from headrace.platform.kafka.jar_cache import Progress


class LineProgress:
    """One line at the start, one at the end."""

    def __init__(self, what: str) -> None:
        self._what, self._since = what, 0.0

    def start(self, files: int, size: int) -> None:
        """Say what is about to be fetched."""
        self._since = time.monotonic()
        self.note(f"fetching {self._what}: {files} files, {size / 1e6:.0f} MB")

    def advance(self, size: int) -> None:
        """Lines are for logs: nothing on the way."""

    def finish(self) -> None:
        """Say how long it took."""
        self.note(f"fetched {self._what} in {time.monotonic() - self._since:.1f} s")

    def note(self, text: str) -> None:
        """Print a line."""
        print(f"headrace: {text}", file=sys.stderr, flush=True)


class BarProgress:
    """A bar of bytes with its speed."""

    def __init__(self, what: str) -> None:
        self._bar = Bar(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
            console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task(f"Fetching {what}", total=None)

    def start(self, files: int, size: int) -> None:  # noqa: ARG002 - the bar counts bytes
        """Show the bar."""
        self._bar.update(self._task, total=size)
        self._bar.start()

    def advance(self, size: int) -> None:
        """Move the bar."""
        self._bar.advance(self._task, size)

    def finish(self) -> None:
        """Take the bar away."""
        self._bar.stop()

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(text)


def progress_for(what: str) -> Progress:
    """A bar where a person is watching, else lines."""
    return BarProgress(what) if sys.stderr.isatty() else LineProgress(what)
