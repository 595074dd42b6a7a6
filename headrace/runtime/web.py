"""An HTTP server inside a role: uvicorn, which binds its port at once and leaves signals to the role's lifecycle.

It needs the extra `rest`; nothing else in `headrace.runtime` imports it.
"""

import asyncio
import socket
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from headrace.runtime.access.edge import Edge
from headrace.runtime.errors import ConfigError

_BACKLOG = 2048
_WEBSOCKET_MESSAGE = 1 << 18  # bytes of one message that a client sends


class WebServer:
    """Serves an ASGI app.

    Args:
        app: the app.
        host, port: where to listen; port 0 takes a free one.
        flag: the setting that an error about the port names.
        grace_s: seconds for requests in progress when it stops.
        share: this user's other processes may take the same port (SO_REUSEPORT).
        protocol: a subclass of uvicorn's protocol, for requests that it answers itself.
        websockets: whether the app has WebSocket routes; it needs the package websockets. A client that answers no ping
            for 20 s is dropped.
        edge: TLS, and the guard before the app; None for a server of a test or a tool.

    Raises:
        ConfigError: the port is taken, or this process may not listen on it.
    """

    def __init__(
        self,
        app: Any,
        host: str,
        port: int,
        *,
        flag: str = "--rest-port",
        grace_s: float = 5.0,
        share: bool = False,
        protocol: type[asyncio.Protocol] | None = None,
        websockets: bool = False,
        edge: Edge | None,
    ) -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise ConfigError(f"REST: cannot listen on {host}:{port}: {error.strerror}", hint=flag) from error
        self._tls = edge is not None and edge.rest_tls is not None
        config = uvicorn.Config(
            app if edge is None else edge.guarded(app),
            http=protocol or "httptools",
            ws="websockets-sansio" if websockets else "none",
            ws_max_size=_WEBSOCKET_MESSAGE,
            ws_per_message_deflate=False,  # its windows are memory for each client, and its time the event loop's
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=max(1, round(grace_s)),
        )
        config.load()
        if edge is not None:
            config.ssl = edge.rest_tls  # uvicorn's own settings have no context that takes new certificates
        self._server = _Server(config)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        scheme = "https" if self._tls else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def serve(self) -> Coroutine[Any, Any, None]:
        """Answer requests until `stop` is called; then finish those in progress and return.

        Connections are taken from this call on, before the coroutine has begun: whoever is told the address then is
        not refused.
        """
        self._socket.listen(_BACKLOG)
        return self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Take no more requests."""
        self._server.should_exit = True


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle none: the lifecycle does."""
        yield
