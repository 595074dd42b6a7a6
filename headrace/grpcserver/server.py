"""The server: a port, the methods behind it, and an orderly end."""

import asyncio
import contextlib
import socket
import ssl

from headrace.grpcserver.calls import Status
from headrace.grpcserver.connection import Connection
from headrace.grpcserver.limits import DEFAULT_LIMITS, Limits
from headrace.grpcserver.methods import Methods
from headrace.runtime.access.grpc import GuardedCalls
from headrace.runtime.access.guard import Guard
from headrace.runtime.access.tls import ReloadingContext
from headrace.runtime.errors import ConfigError

_KEEPALIVE_IDLE_S = 60
_BACKLOG = 2048
_CLOSE_S = 1.0  # for peers that read slowly, or never answer TLS's goodbye


class GrpcServer(Methods):
    """Answers gRPC on a port that is taken at once.

    Args:
        host, port: where to listen; port 0 takes a free one.
        limits: what one peer may hold.
        tls: a context for TLS; "h2" is negotiated.
        guard: who may call what; None where anybody may call everything.
        share: this user's other processes may take the same port (SO_REUSEPORT).
        listener: a listening socket to use instead of host and port, for several processes on one port.

    Raises:
        ConfigError: the port is taken, or may not be taken.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        limits: Limits = DEFAULT_LIMITS,
        tls: ssl.SSLContext | None = None,
        guard: Guard | None = None,
        share: bool = False,
        listener: socket.socket | None = None,
    ) -> None:
        super().__init__()
        if guard is not None:
            self._guarded = GuardedCalls(guard, Status)
        self._limits, self._tls = limits, tls
        self._connections: set[Connection] = set()
        self._none = asyncio.Event()  # set while nobody is connected
        self._none.set()
        self._server: asyncio.Server | None = None
        if tls is not None and not isinstance(tls, ReloadingContext):
            tls.set_alpn_protocols(["h2"])
        self._socket = listener or _listen(host, port, share=share)

    @property
    def address(self) -> str:
        """host:port."""
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def opened(self, connection: Connection) -> None:
        """See `headrace.grpcserver.connection.Calls`."""
        self._connections.add(connection)
        self._none.clear()

    def closed(self, connection: Connection) -> None:
        """See `headrace.grpcserver.connection.Calls`."""
        self._connections.discard(connection)
        if not self._connections:
            self._none.set()

    # Life.

    async def start(self) -> None:
        """Begin to answer."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self, self._limits),
            sock=self._socket,
            backlog=_BACKLOG,
            ssl=self._tls,
        )

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, give those in hand so long to be answered, and close."""
        if self._server is None:
            self._socket.close()
            return
        self._server.close()
        for connection in list(self._connections):
            connection.go_away()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._none.wait(), grace_s)
        for connection in list(self._connections):
            connection.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):  # what was written leaves, and TLS says goodbye
            await asyncio.wait_for(self._none.wait(), _CLOSE_S)
        for connection in list(self._connections):
            connection.abort("the server stops")
        await self._none.wait()  # sockets are closed by the loop's next turns, not by a collector later


def _listen(host: str, port: int, *, share: bool) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if share:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # accepted connections inherit both
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(f"gRPC: cannot listen on {host}:{port}: {error.strerror}", hint="--grpc-port") from error
    return listener
