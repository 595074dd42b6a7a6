"""Commands as processes: see `headrace.rules.effects.port.Programs`. They die with this process."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from headrace.platform import parent_death

_TAIL = 2000
_GRACE_S = 5.0


class Processes:
    """Runs programs in the pipeline's folder.

    The program itself is killed when this process ends, however it ends; what it has started in turn is stopped with it
    where it is stopped in order: all of it is one process group.

    Args:
        folder: the pipeline's.
        logs: the folder of logs.
    """

    def __init__(self, folder: Path, logs: Path) -> None:
        self._folder, self._logs = folder, logs
        logs.mkdir(parents=True, exist_ok=True)

    async def run(self, command: tuple[str, ...], env: Mapping[str, str], log: str) -> int:
        """See `Programs`."""
        wrapped = [sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid()), *command]
        with (self._logs / log).open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *wrapped, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self._folder,
                env={**os.environ, **env}, start_new_session=True,
            )  # fmt: skip
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                await _stop(process)

    def tail(self, log: str) -> str:
        """See `Programs`."""
        try:
            data = (self._logs / log).read_bytes()
        except FileNotFoundError:
            return ""
        return data[-_TAIL:].decode(errors="replace").strip()


async def _stop(process: asyncio.subprocess.Process) -> None:
    """SIGTERM to the group, and SIGKILL to what is left after a moment."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(_GRACE_S):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
