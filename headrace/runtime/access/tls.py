"""TLS contexts of servers that take new certificates without a restart.

Whoever renews certificates replaces the files; the server looks at them every few seconds and uses the new ones for the
connections that come. Connections that are open keep theirs. Files that do not fit together, as while they are being
replaced, are noted in the log and the old ones stay.
"""

import ssl
import threading
from pathlib import Path
from typing import Any

from headrace.runtime.errors import ConfigError
from headrace.runtime.logging import get_logger

log = get_logger("headrace.access")

LOOK_S = 2.0


class ReloadingContext(ssl.SSLContext):
    """A context that stands for the newest one: asyncio, uvloop and sockets call its `wrap_` methods.

    Args are given by `server_context`.
    """

    _current: ssl.SSLContext

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """See ssl.SSLContext."""
        return self._current.wrap_bio(*args, **kwargs)

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """See ssl.SSLContext."""
        return self._current.wrap_socket(*args, **kwargs)


class Certificates:
    """A server's certificate, key and the authorities of its clients, as files.

    Args:
        certificate: the chain, PEM.
        key: its private key, PEM.
        client_authorities: what clients' certificates must be signed by, PEM; None where clients need none.
        protocols: for ALPN.

    Raises:
        ConfigError: a file is missing or wrong.
    """

    def __init__(
        self, certificate: Path, key: Path, client_authorities: Path | None = None, protocols: tuple[str, ...] = ()
    ) -> None:
        self._certificate, self._key, self._clients = certificate, key, client_authorities
        self._protocols = protocols
        self.context = ReloadingContext(ssl.PROTOCOL_TLS_SERVER)
        self._seen = self._stamp()
        try:
            self.context._current = self._load()  # noqa: SLF001 - our own class
        except (OSError, ValueError) as error:
            raise ConfigError(f"TLS: {self._names()}: {error}", hint="PEM files: --tls-cert, --tls-key") from error

    def look(self) -> bool:
        """Take new files, if there are any; whether there were."""
        try:
            stamp = self._stamp()
            if stamp == self._seen:
                return False
            self.context._current = self._load()  # noqa: SLF001
        except (OSError, ValueError, ConfigError) as error:
            log.warning("new certificates do not fit: the old ones stay", files=self._names(), error=str(error))
            return False
        self._seen = stamp
        log.info("new certificates", files=self._names())
        return True

    def _load(self) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.load_cert_chain(self._certificate, self._key)
        if self._clients is not None:
            made.load_verify_locations(self._clients)
            made.verify_mode = ssl.CERT_REQUIRED
        if self._protocols:
            made.set_alpn_protocols(list(self._protocols))
        return made

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        files = (self._certificate, self._key, *([self._clients] if self._clients else []))
        try:
            found = [path.stat() for path in files]
        except OSError as error:
            raise ConfigError(f"TLS: {error.filename}: {error.strerror}", hint="--tls-cert, --tls-key") from error
        return tuple((s.st_mtime_ns, s.st_ino, s.st_size) for s in found)

    def _names(self) -> str:
        return ", ".join(str(path) for path in (self._certificate, self._key, self._clients) if path is not None)


class Watch:
    """Looks at certificates every `LOOK_S` seconds, in a thread."""

    def __init__(self, certificates: list[Certificates]) -> None:
        self._certificates, self._stop = certificates, threading.Event()
        self._thread = threading.Thread(target=self._run, name="certificates", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            for one in self._certificates:
                one.look()
