"""Serves a host's chunks to other agents: one thread a connection, a bounded number of them.

Bytes go from the mapped slot into the socket by `send`: one copy, made by the kernel. `sendfile` would make none: it
puts references to the slot's pages into the socket's queue, where writing the slot later would change what was "sent"
already, and nobody says when they are gone.
"""

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence

from headrace.runtime.errors import ConfigError
from headrace.runtime.logging import get_logger
from headrace.weights.errors import PeerError
from headrace.weights.format.manifest import Keys
from headrace.weights.host.peers import wire
from headrace.weights.host.peers.chunk_leases import ChunkLeases
from headrace.weights.host.peers.wire import Kind

log = get_logger("headrace.weights")

BEAT_S = 0.25
"""Seconds between words to somebody who waits."""
GRACE_S = 0.5
"""Seconds for which a chunk that nobody here has heard of may still turn up: others may have heard of its version
sooner."""
GREETING_S = 5.0
"""Seconds within which whoever connects has to introduce itself."""
IDLE_S = 30.0
"""Seconds after which a connection that asks for nothing, or takes nothing, is closed."""


class PeerServer:
    """Listens from `open` to `close`.

    Args:
        leases: what may be served.
        key: the manifests' key; whoever connects must have it. None lets anybody in.
        tls: a context that asks for certificates of the other agents; None for plain TCP.
        limit: connections at a time; more are closed at once, and take the chunks elsewhere.
        on_served: told the model and the bytes of every chunk sent.
    """

    def __init__(
        self,
        leases: ChunkLeases,
        *,
        key: Keys = None,
        tls: ssl.SSLContext | None = None,
        limit: int = 64,
        on_served: Callable[[str, int], None] = lambda _model, _size: None,
    ) -> None:
        self._leases = leases
        self._key, self._tls = key, tls
        self._limit = limit
        self._on_served = on_served
        self._lock = threading.Lock()
        self._serving: dict[socket.socket, threading.Thread] = {}
        self._listener: socket.socket | None = None
        self._acceptor = threading.Thread(target=self._accept_for_ever, name="peers", daemon=True)
        self._closed = False

    def open(self, host: str, port: int = 0) -> int:
        """Listen, and return the port.

        Raises:
            ConfigError: the address cannot be had.
        """
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._listener = socket.create_server((host, port), family=family, backlog=self._limit)
        except OSError as error:
            raise ConfigError(f"cannot listen for other agents on {host}:{port}: {error}") from error
        self._acceptor.start()
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        """Stop listening and end every connection."""
        if self._listener is None:
            return
        with self._lock:
            self._closed = True
            serving = dict(self._serving)
        _interrupt(self._listener)
        for sock in serving:
            _interrupt(sock)
        for thread in [self._acceptor, *serving.values()]:
            thread.join()
        self._listener.close()

    def _accept_for_ever(self) -> None:
        assert self._listener is not None
        while True:
            try:
                sock, address = self._listener.accept()
            except OSError:
                if self._closed:
                    return
                log.warning("no connection could be taken from another agent; trying again", exc_info=True)
                time.sleep(BEAT_S)  # out of file descriptors, most likely: others will let go of some
                continue
            with self._lock:
                if self._closed or len(self._serving) >= self._limit:
                    sock.close()
                    continue
                thread = threading.Thread(target=self._serve, args=(sock, str(address)), name="peer", daemon=True)
                self._serving[sock] = thread
                thread.start()

    def _serve(self, sock: socket.socket, who: str) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(GREETING_S)
            if self._tls is not None:
                sock = self._over_tls(sock, self._tls, who)
            self._greet(sock)
            sock.settimeout(IDLE_S)
            while (head := _exactly(sock, wire.BATCH_HEAD_SIZE)) is not None:
                body = _exactly(sock, wire.request_size(head))
                if body is None:
                    return
                self._answer(sock, wire.digests_of(body))
        except PeerError as error:
            log.warning("connection of another agent given up", peer=who, error=str(error))
        except OSError:
            pass  # it has closed, died, taken too long, or was interrupted: all the same to us
        finally:
            with self._lock:
                del self._serving[sock]
            sock.close()

    def _over_tls(self, sock: socket.socket, tls: ssl.SSLContext, who: str) -> socket.socket:
        """The connection over TLS, in the place of the plain one: `close` must be able to interrupt its handshake."""
        secured = tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._serving[secured] = self._serving.pop(sock)
            closed = self._closed
        if closed:
            _interrupt(secured)
        try:
            secured.do_handshake()
        except OSError as error:
            log.warning("another agent was refused", peer=who, error=str(error))
            with self._lock:
                self._serving[sock] = self._serving.pop(secured)  # as whoever called knows it
            secured.close()
            raise
        return secured

    def _greet(self, sock: socket.socket) -> None:
        theirs = wire.nonce_of(_exactly(sock, wire.GREETING_SIZE) or b"")
        ours = os.urandom(wire.NONCE_SIZE)
        sock.sendall(wire.greeting(ours) + wire.proof(self._key, "server", theirs, ours))
        wire.check_proof(_exactly(sock, wire.PROOF_SIZE) or b"", self._key, "client", theirs, ours)

    def _answer(self, sock: socket.socket, digests: Sequence[str]) -> None:
        """Send every chunk as soon as it is here."""
        waiting = dict(enumerate(digests))
        begun = said = time.monotonic()
        while waiting:
            seen = self._leases.changes
            found = next((i for i, digest in waiting.items() if self._leases.has(digest)), None)
            if found is not None:
                if self._send(sock, found, waiting[found]):
                    del waiting[found]
                    said = time.monotonic()
                continue
            now = time.monotonic()
            if now - begun >= GRACE_S:
                for index in [i for i, digest in waiting.items() if not self._leases.awaits(digest)]:
                    del waiting[index]
                    sock.sendall(wire.reply(Kind.ABSENT, index))
            if waiting and now - said >= BEAT_S:
                sock.sendall(wire.reply(Kind.WAIT))
                said = now
            if waiting:
                self._leases.wait(seen, BEAT_S)

    def _send(self, sock: socket.socket, index: int, digest: str) -> bool:
        """Send a chunk; False if it has gone in the meantime."""
        with self._leases.lease(digest, lambda: _interrupt(sock)) as leased:
            if leased is None:
                return False
            size = len(leased.data)
            more = 0 if isinstance(sock, ssl.SSLSocket) else socket.MSG_MORE  # TLS has records of its own
            sock.sendall(wire.reply(Kind.CHUNK, index, size), more)
            sock.sendall(leased.data)
        self._leases.count(leased.model, size)
        self._on_served(leased.model, size)
        return True


def _interrupt(sock: socket.socket) -> None:
    """Make whoever is in a call on this socket come back from it, with an error or the end."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # of TLS's own `shutdown` a reader in another thread sees half


def _exactly(sock: socket.socket, size: int) -> bytes | None:
    """Read so many bytes; None if the other side has closed."""
    data = bytearray()
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            return None
        data += part
    return bytes(data)
