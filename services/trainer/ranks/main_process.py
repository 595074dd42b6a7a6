"""The role's main process with `--ranks N`: starts N ranks, and all of them again when one ends.

The kernel kills the ranks if this process is killed: two groups of ranks would otherwise train at once.
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from headrace.platform.process import tied
from headrace.runtime.errors import ConfigError, DependencyError, ExitCode
from headrace.runtime.lifecycle import Context, Stop
from services.trainer.ranks.app import READY_FD, checked_pipeline
from services.trainer.settings import TrainerSettings

_PROBE_S = 0.1
_PAUSE_S = 1.0
_GIVE_UP = 5
"""Starts in a row after which no rank came to train."""


class RanksApp:
    """Keeps a group of ranks running. Ready while all of them train.

    Raises:
        ConfigError: see `checked_pipeline`.
    """

    def __init__(self, context: Context[TrainerSettings], argv: Sequence[str]) -> None:
        checked_pipeline(context.settings)
        self._context, self._argv, self._size = context, argv, context.settings.ranks
        self._processes: list[subprocess.Popen[bytes]] = []
        self._pipe, self._trained = -1, 0
        context.ready.declare("training")

    async def run(self, stop: Stop) -> None:
        """Keep them running until `stop` is set; then they publish what was learned last.

        Raises:
            ConfigError: a rank says that its settings are wrong.
            DependencyError: several starts in a row came to nothing.
        """
        await asyncio.to_thread(self._run, stop)

    def _run(self, stop: Stop) -> None:
        failures = 0
        try:
            while not stop.is_set():
                self._start()
                self._watch(stop)
                if stop.is_set():
                    return
                codes = [process.poll() for process in self._processes]
                self._context.ready.set("training", False, "a rank ended")  # noqa: FBT003
                failures = 0 if self._trained == self._size else failures + 1
                self._kill()
                if ExitCode.CONFIG in codes:
                    raise ConfigError("a rank's settings are wrong", hint="its log says which")
                if failures >= _GIVE_UP:
                    raise DependencyError(
                        f"the ranks ended {failures} times before they trained", hint="see their logs"
                    )
                self._context.log.error("a rank ended: all start again from the last checkpoint", exit_codes=codes)
                stop.wait(_PAUSE_S)
        finally:
            self._end()

    def _start(self) -> None:
        self._pipe, ready = os.pipe()
        os.set_blocking(self._pipe, False)
        self._trained, port = 0, _free_port()
        settings = self._context.settings
        for rank in range(self._size):
            args = (*self._argv, "--ranks=1", "--ops-port=0", f"--instance={settings.instance}.{rank}")
            environment = {
                **os.environ, "RANK": str(rank), "WORLD_SIZE": str(self._size), "LOCAL_RANK": str(rank),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), READY_FD: str(ready),
            }  # fmt: skip
            command = tied([sys.executable, "-m", "services.trainer", *args])  # by this thread, which waits for them
            self._processes.append(subprocess.Popen(command, env=environment, pass_fds=[ready]))  # noqa: S603 - our own program
        os.close(ready)

    def _watch(self, stop: Stop) -> None:
        """Return once a rank has ended, or `stop` is set."""
        while not stop.wait(_PROBE_S):
            with suppress(BlockingIOError):
                self._trained += len(os.read(self._pipe, self._size))
            pids = [process.pid for process in self._processes]
            self._context.ready.set("training", self._trained == self._size, f"ranks, processes {pids}")
            if any(process.poll() is not None for process in self._processes):
                return

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        self._processes = []
        os.close(self._pipe)

    def _end(self) -> None:
        if not self._processes:
            return
        deadline = time.monotonic() + self._context.settings.shutdown_timeout_s
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._context.log.warning("a rank did not stop in time", process=process.pid)
        self._kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
