"""A job's process, as the service sees it: started, read, stopped."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from headrace.runtime.settings import ServiceSettings

OnLine = Callable[[Mapping[str, Any]], None]

_MOST_LINE = 4 << 20


class JobProcess:
    """One run of a job: `python -m MODULE JOB_FILE`, which says what it does as JSON lines on its standard output.

    It dies when this process dies: its standard input is a pipe from here.
    """

    def __init__(self, module: str, job_file: Path, environment: Mapping[str, str]) -> None:
        self._module, self._job_file, self._environment = module, job_file, environment
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False

    async def run(self, on_line: OnLine) -> int:
        """Run to its end, handing on what it says; returns the exit code."""
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module, str(self._job_file),
            stdin=pipe, stdout=pipe, env={**os.environ, **self._environment}, limit=_MOST_LINE,
        )  # fmt: skip
        if self._stopping:
            self.stop()
        try:
            if self._process.stdout is not None:
                async for line in self._process.stdout:
                    on_line(orjson.loads(line))
            return await self._process.wait()
        finally:
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()

    def stop(self) -> None:
        """Ask it to stop; what it has done so far stays."""
        self._stopping = True
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)


def environment(settings: ServiceSettings) -> dict[str, str]:
    """What a job's process needs to find Kafka and the stores: not as flags, which everybody on the host can read."""
    named = {
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "REDIS_URL": settings.redis_url,
        "HEADRACE_STORAGE_URL": settings.storage_url,
        "HEADRACE_STORAGE_DIR": str(settings.storage_folder),
        "HEADRACE_RUN_DIR": str(settings.run_folder),
        "HEADRACE_KAFKA_CONFIG": json.dumps(settings.kafka_config) if settings.kafka_config else "",
        "HEADRACE_SIGNING_KEY": settings.signing_key.get_secret_value() if settings.signing_key else "",
        "HEADRACE_ALSO_VALID_SIGNING_KEY": (
            settings.also_valid_signing_key.get_secret_value() if settings.also_valid_signing_key else ""
        ),
    }
    return {name: value for name, value in named.items() if value}
