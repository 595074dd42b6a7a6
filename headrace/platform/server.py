"""What the embedded Kafka and Redis have in common: one process of ours on 127.0.0.1 and the port that it keeps."""

import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from headrace.platform import process
from headrace.platform.files import log_tail
from headrace.platform.process import ProcessId
from headrace.runtime.errors import PlatformError


class Server(ABC):
    """A server process: `launch` then `wait_ready`; `stop`; or, once it has died, `relaunch` at the same address.

    Args:
        folder: where its data and its log are kept; they stay there after the stop.
        port: the port that it must have; None takes `last_port` where that is free, else any free one.
        last_port: the port that it had when the folder was last used.
    """

    name: ClassVar[str]
    """Its name in files and on the board."""
    title: ClassVar[str]
    """Its name in messages."""
    stop_timeout_s: ClassVar[float]
    """How long it may take to end after SIGTERM."""

    def __init__(self, folder: Path, *, port: int | None = None, last_port: int | None = None) -> None:
        self.folder = folder
        self.log = folder / f"{self.name}.log"
        self._fixed_port = port
        self._port = port or last_port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int | None:
        """The clients' port, once launched."""
        return self._port

    @property
    @abstractmethod
    def address(self) -> str:
        """Where clients find it, once launched."""

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """Its last process, which may have ended; None before `launch` and after `stop`."""
        return self._process

    @property
    def id(self) -> ProcessId | None:
        """Its process, while it runs."""
        if self._process is None or self._process.poll() is not None:
            return None
        return ProcessId.of(self._process.pid)

    @abstractmethod
    def launch(self) -> None:
        """Start the process.

        Raises:
            PlatformError: the port that it must have is taken, or something that it needs is missing.
        """

    @abstractmethod
    def wait_ready(self) -> None:
        """Return when it answers.

        Raises:
            PlatformError: it died, or does not answer in time; with the tail of its log.
        """

    @abstractmethod
    def answers(self) -> bool:
        """Whether this very process answers a request now; waits for that half a second at most."""

    def relaunch(self) -> subprocess.Popen[bytes]:
        """Start the process again, at the address that its clients know; it is ready once it `answers`.

        Raises:
            PlatformError: something else listens on its port by now, or `launch` failed.
        """
        self._fixed_port = self._port
        self.launch()
        if self._process is None:
            raise PlatformError(f"{self.title} was not started")
        return self._process

    def check(self) -> None:
        """Check that the process runs.

        Raises:
            PlatformError: it died; with the tail of its log.
        """
        if self._process is not None and self._process.poll() is not None:
            code = self._process.returncode
            raise PlatformError(f"{self.title} died with exit code {code}; {self.log} ends:\n{log_tail(self.log)}")

    def stop(self) -> None:
        """Stop the process in order; harmless if it is not there."""
        if self._process is not None:
            process.stop(self._process, self.stop_timeout_s)
            self._process = None

    def _take_port(self) -> int:
        """The port for the next process: the same as before where it is free."""
        if self._fixed_port and not process.port_is_free(self._fixed_port):
            raise PlatformError(
                f"{self.title}: port {self._fixed_port} is taken by another process",
                hint="end that process (ss -ltnp shows it) or choose another port",
            )
        if self._port is None or not process.port_is_free(self._port):
            self._port = process.free_port()
        return self._port

    def _not_ready(self, timeout_s: float) -> PlatformError:
        reason = "died at start" if self.id is None else f"does not answer after {timeout_s:.0f} s"
        return PlatformError(f"{self.title} {reason}; {self.log} ends:\n{log_tail(self.log)}")
