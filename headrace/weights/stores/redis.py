"""Chunks in Redis: the fast way from a trainer to many hosts.

A chunk is the value of `headrace:{<model>}:<digest>`; the sorted set `headrace:{<model>}` has each digest with the
second of its last use by Redis' own clock, so that the hosts' clocks never matter. The braces keep a model in one slot
of a cluster.
"""

import contextlib
import socket
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from typing import Any

import redis

from headrace.weights.errors import ChunkCorrupt, ChunkMissing, StoreUnavailable
from headrace.weights.format.chunks import Buffer, RunningDigest, expect
from headrace.weights.stores.port import GRACE_S

TIMEOUT_S = 5.0
_BATCH = 500

# KEYS[1] the index; ARGV digests. Returns those that are absent.
_CLAIM = """
local now, absent = redis.call('TIME')[1], {}
for _, digest in ipairs(ARGV) do
  if redis.call('EXISTS', KEYS[1] .. ':' .. digest) == 1 then redis.call('ZADD', KEYS[1], now, digest)
  else absent[#absent + 1] = digest end
end
return absent
"""

# KEYS[1] the index; ARGV[1] a digest.
_TOUCH = "return redis.call('ZADD', KEYS[1], redis.call('TIME')[1], ARGV[1])"

# KEYS[1] the index; ARGV[1] grace in seconds, then digests that nobody refers to. Returns how many were deleted.
_SWEEP = """
local cutoff, swept = redis.call('TIME')[1] - ARGV[1], 0
for i = 2, #ARGV do
  local used = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if used and tonumber(used) <= cutoff then
    redis.call('UNLINK', KEYS[1] .. ':' .. ARGV[i])
    redis.call('ZREM', KEYS[1], ARGV[i])
    swept = swept + 1
  end
end
return swept
"""


class RedisChunkStore:
    """See `headrace.weights.stores.port.ChunkStore`. Each concurrent caller has a connection of its own."""

    def __init__(self, url: str, *, connections: int = 8) -> None:
        pool: redis.ConnectionPool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            protocol=2,  # replies only, never a push between a request and its answer
            timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            socket_keepalive=True,
        )
        self._pool = pool
        self._redis = redis.Redis(connection_pool=pool)
        where = pool.connection_kwargs
        self.name = f"redis {where.get('host', where.get('path', ''))}:{where.get('port', '')}"
        self._claim = self._redis.register_script(_CLAIM)
        self._sweep = self._redis.register_script(_SWEEP)

    def claim(self, model: str, digests: Collection[str]) -> set[str]:
        """See `ChunkStore.claim`."""
        with self._translated("claim chunks"):
            absent: list[bytes] = []
            for batch in _batches(list(digests)):
                absent += self._claim(keys=[_index(model)], args=batch)
        return {digest.decode() for digest in absent}

    def put(self, model: str, digest: str, data: Buffer) -> None:
        """See `ChunkStore.put`."""
        value = data if isinstance(data, bytes) else memoryview(data)
        with self._translated(f"write chunk {digest} of model {model}"):
            both = self._redis.pipeline(transaction=True)
            both.set(f"{_index(model)}:{digest}", value)
            both.eval(_TOUCH, 1, _index(model), digest)
            both.execute()

    def get_into(self, model: str, digest: str, buffer: memoryview) -> None:
        """See `ChunkStore.get_into`."""
        for _ in self.get_each(model, [(digest, buffer)]):
            pass

    def get_each(self, model: str, wanted: Sequence[tuple[str, memoryview]]) -> Generator[None, None, None]:
        """See `ChunkStore.get_each`.

        The next request is sent before a reply is read, so that Redis never waits for us.
        """
        asked = 0
        with self._translated(f"read chunks of model {model}"), self._connection() as connection:
            for turn, (digest, buffer) in enumerate(wanted):
                while asked < min(turn + 2, len(wanted)):
                    connection.send_command("GET", f"{_index(model)}:{wanted[asked][0]}")
                    asked += 1
                try:
                    self._receive(connection, model, digest, buffer)
                except ChunkMissing:
                    if asked > turn + 1:
                        connection.disconnect()  # the next reply is under way already
                    raise
                yield

    def _receive(self, connection: Any, model: str, digest: str, buffer: memoryview) -> None:
        """Read one reply and verify it; the bytes go from the socket straight into ``buffer``."""
        size = _reply_size(_socket(connection))
        if size < 0:
            raise ChunkMissing(f"chunk {digest} of model {model} is not in {self.name}")
        if size != len(buffer):
            connection.disconnect()  # cheaper than reading what nobody wants
            raise ChunkCorrupt(
                f"chunk {digest} of model {model} in {self.name} has {size} bytes, expected {len(buffer)}"
            )
        running = RunningDigest(buffer)
        _fill(_socket(connection), buffer, running.filled)
        _fill(_socket(connection), memoryview(bytearray(2)))
        expect(model, digest, running.hexdigest(), size, self.name)

    def sweep(self, model: str, keep: Collection[str], grace_s: float = GRACE_S) -> int:
        """See `ChunkStore.sweep`."""
        kept = set(keep)
        with self._translated(f"sweep chunks of model {model}"):
            known: list[Any] = self._redis.zrange(_index(model), 0, -1)
            unreferenced = [digest for digest in (raw.decode() for raw in known) if digest not in kept]
            return sum(
                int(self._sweep(keys=[_index(model)], args=[grace_s, *batch])) for batch in _batches(unreferenced)
            )

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        self._pool.disconnect()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Any]:
        connection: Any = self._pool.get_connection()
        clean = False
        try:
            yield connection
            clean = True
        except ChunkMissing:
            clean = True  # the reply was read whole
            raise
        finally:
            if not clean:
                connection.disconnect()  # a reply may be half read: nobody else may see the rest
            self._pool.release(connection)

    @contextlib.contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, OSError) as error:
            raise StoreUnavailable(
                f"{self.name} cannot {what}: {error}", hint="Is REDIS_URL right, and Redis up and not full?"
            ) from error


def _index(model: str) -> str:
    return f"headrace:{{{model}}}"


def _batches(items: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def _socket(connection: Any) -> socket.socket:
    # redis-py's own parser copies a value twice (1.9 GB/s against 2.75 GB/s read like this); it keeps connecting,
    # authentication and TLS, and its read buffer is empty between commands.
    found: socket.socket = connection._sock  # noqa: SLF001
    return found


def _reply_size(sock: socket.socket) -> int:
    """Read a bulk string's first line, no byte more, and return its size; -1 for no such key."""
    head = sock.recv(32, socket.MSG_PEEK) if not _is_tls(sock) else b""
    end = head.find(b"\n")
    line = _exactly(sock, end + 1) if end >= 0 else _line(sock)
    if line[:1] == b"$":
        return int(line[1:-2])
    raise redis.ResponseError(line.decode(errors="replace").strip() or "the connection was closed")


def _is_tls(sock: socket.socket) -> bool:
    return hasattr(sock, "pending")  # a TLS socket cannot peek


def _line(sock: socket.socket) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        line += _exactly(sock, 1)
    return bytes(line)


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    _fill(sock, memoryview(data))
    return bytes(data)


def _fill(sock: socket.socket, buffer: memoryview, tell: Callable[[int], None] = lambda _: None) -> None:
    """Receive until ``buffer`` is full, and tell each time how much of it is."""
    filled = 0
    while filled < len(buffer):
        got = sock.recv_into(buffer[filled:])
        if got == 0:
            raise ConnectionResetError("the server closed the connection")
        filled += got
        tell(filled)
