"""A TCP proxy that lets bytes from a server through at a given rate, all connections together.

A store with a bandwidth.
"""

import contextlib
import socket
import threading
import time
from functools import partial
from urllib.parse import urlsplit

PIECE = 1 << 16
BURST_S = 0.005
"""What was not used for so long may be used at once."""
_FIRST_COME_S = 10.0


class Throttle:
    """Listens on a free port of 127.0.0.1 from the start until `close`.

    Args:
        url: the server behind, as redis://host:port/0; `url` is the proxy's own.
        bytes_per_s: what passes from the server to all clients; the other way is free.
    """

    def __init__(self, url: str, bytes_per_s: float) -> None:
        where = urlsplit(url)
        self._server = (where.hostname, where.port)
        self._rate = bytes_per_s
        self._lock = threading.Lock()
        self._free_at = 0.0
        self._open: set[socket.socket] = set()
        self.passed = 0
        """Bytes that came from the server."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = where._replace(netloc=f"127.0.0.1:{self._listener.getsockname()[1]}").geturl()
        self._thread = threading.Thread(target=self._accept_for_ever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End every connection."""
        _shut(self._listener)
        self._thread.join(_FIRST_COME_S)
        self._listener.close()
        with self._lock:
            for sock in self._open:
                _shut(sock)

    def _accept_for_ever(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
            except OSError:
                return
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {client, server}
            ends = threading.Barrier(2, action=partial(self._close, client, server))
            threading.Thread(target=self._pump, args=(client, server, False, ends), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True, ends), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, throttled: bool, ends: threading.Barrier) -> None:  # noqa: FBT001
        buffer = memoryview(bytearray(PIECE))
        with contextlib.suppress(OSError):
            while size := source.recv_into(buffer):
                if throttled:
                    time.sleep(self._wait(size))
                sink.sendall(buffer[:size])
        _shut(source)
        _shut(sink)
        ends.wait()

    def _wait(self, size: int) -> float:
        """Seconds until so many bytes may pass; they count from now on."""
        with self._lock:
            now = time.monotonic()
            self.passed += size
            self._free_at = max(self._free_at, now - BURST_S) + size / self._rate
            return max(0.0, self._free_at - now)

    def _close(self, *pair: socket.socket) -> None:
        with self._lock:
            self._open -= set(pair)
        for sock in pair:
            sock.close()


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
