"""One connection to another agent, from which chunks are taken straight into their place."""

import contextlib
import os
import socket
import ssl
import time
from collections.abc import Generator, Sequence

from headrace.weights.errors import PeerError
from headrace.weights.format.chunks import verify
from headrace.weights.format.manifest import Keys
from headrace.weights.host.peers import wire
from headrace.weights.host.peers.wire import Kind

PATIENCE_S = 2.0
"""Seconds without a byte, of a chunk or that it is on its way, after which an agent is given up."""
SLOWEST = 2e6
"""Bytes a second: an agent that sends a chunk more slowly is given up."""
LONGEST_WAIT_S = 10.0
"""Seconds for which chunks may be on their way to an agent without one of them arriving."""


class PeerConnection:
    """Connects and proves the key to each other. Used by one thread, but for `abort`.

    Args:
        address: the agent's host:port.
        key: the manifests' key, None where there is none.
        tls: whom to trust, and one's own certificate; None for plain TCP.
        patience_s: see `PATIENCE_S`.

    Raises:
        PeerError: nobody answers, or not as an agent with that key.
    """

    def __init__(
        self,
        address: str,
        *,
        key: Keys = None,
        tls: ssl.SSLContext | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.address = address
        self._patience_s = patience_s
        host, _, port = address.rpartition(":")
        try:
            self._sock = socket.create_connection((host.strip("[]"), int(port)), patience_s)
            if tls is not None:
                self._sock = tls.wrap_socket(self._sock, server_hostname=host.strip("[]"))
        except (OSError, ValueError) as error:
            raise PeerError(f"agent at {address} cannot be reached: {error}") from error
        try:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._greet(key)
        except BaseException:
            self.close()
            raise

    def _greet(self, key: Keys) -> None:
        ours = os.urandom(wire.NONCE_SIZE)
        self._say(wire.greeting(ours))
        theirs = wire.nonce_of(self._read(wire.GREETING_SIZE))
        wire.check_proof(self._read(wire.PROOF_SIZE), key, "server", ours, theirs)
        self._say(wire.proof(key, "client", ours, theirs))

    def take(self, model: str, wanted: Sequence[tuple[str, memoryview]]) -> Generator[tuple[int, Kind], None, None]:
        """Ask for chunks, each with the buffer that it fills, and yield what becomes of them, in the order of arrival.

        Yields:
            ``(index, CHUNK)`` when a chunk is in place, verified; ``(index, ABSENT)`` when it cannot be had here;
            ``(0, WAIT)`` now and then, so that the caller may give up. Ends when every chunk was answered.

        Raises:
            PeerError: the agent is away, too slow, or does not keep to the protocol.
            ChunkCorrupt: its bytes are not the chunk. Afterwards that buffer's content is undefined.
        """
        self._say(wire.request([digest for digest, _ in wanted]))
        sizes: list[int | None] = [len(buffer) for _, buffer in wanted]
        left, moved = len(wanted), time.monotonic()
        while left:
            reply = wire.reply_of(self._read(wire.REPLY_HEAD_SIZE), sizes)
            if reply.kind is Kind.WAIT:
                if time.monotonic() - moved > LONGEST_WAIT_S:
                    raise PeerError(f"agent at {self.address} has waited for chunks for more than {LONGEST_WAIT_S:g} s")
            else:
                if reply.kind is Kind.CHUNK:
                    digest, buffer = wanted[reply.index]
                    self._fill(buffer, self._patience_s + len(buffer) / SLOWEST)
                    verify(model, digest, buffer, f"agent at {self.address}")
                left, moved = left - 1, time.monotonic()
                sizes[reply.index] = None
            yield reply.index, reply.kind

    def abort(self) -> None:
        """Make the thread that uses the connection come back with an error, at once. May be called from any thread."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)  # TLS's own is not for two threads

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def _say(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise self._lost(error) from error

    def _read(self, size: int) -> bytes:
        data = bytearray(size)
        self._fill(memoryview(data), self._patience_s)
        return bytes(data)

    def _fill(self, buffer: memoryview, seconds: float) -> None:
        filled, deadline = 0, time.monotonic() + seconds
        try:
            while filled < len(buffer):
                self._sock.settimeout(max(0.001, min(self._patience_s, deadline - time.monotonic())))
                got = self._sock.recv_into(buffer[filled:])
                if got == 0:
                    raise PeerError(f"agent at {self.address} closed the connection")
                filled += got
        except OSError as error:
            raise self._lost(error) from error

    def _lost(self, error: OSError) -> PeerError:
        return PeerError(f"agent at {self.address} is lost: {error}")
