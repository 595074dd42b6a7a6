"""A platform that lives on when the command that started it returns."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from headrace.platform import Endpoints
from headrace.platform.files import log_tail
from headrace.platform.state import read_status
from headrace.runtime.errors import PlatformError

TIMEOUT_S = 300.0
"""The first start fetches Kafka."""
_LOOK_S = 0.05


def start_detached(command: Sequence[str], folder: Path, timeout_s: float = TIMEOUT_S) -> Endpoints:
    """Run `command`, which starts the platform in `folder`, in its own session; return when Kafka and Redis answer.

    Raises:
        PlatformError: it ended before that, or takes longer than `timeout_s` seconds.
    """
    log = folder / "logs" / "platform.log"
    with log.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603 - our own command
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        status = read_status(folder / "platform")
        if status.ready and status.owner is not None and status.owner.pid == child.pid:
            child.returncode = 0  # it lives on without us: nothing to reap
            return Endpoints(status.address("kafka"), status.address("redis"))
        if child.poll() is not None:
            raise PlatformError(f"the platform did not start:\n{log_tail(log, lines=30)}", hint=f"its log is {log}")
        time.sleep(_LOOK_S)
    child.terminate()
    raise PlatformError(
        f"the platform is not ready after {timeout_s:.0f} s:\n{log_tail(log)}", hint=f"its log is {log}"
    )
