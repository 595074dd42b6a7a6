"""The ops server of every process: /metrics for Prometheus, /healthz and /readyz for supervisors and orchestrators.

It answers from threads of its own, so that a busy event loop does not delay it.
"""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from headrace.runtime.errors import ConfigError
from headrace.runtime.secrets import clean

ReadyState = Callable[[], tuple[bool, dict[str, Any]]]
MayRead = Callable[[str, str], bool]
"""Is given the headers Authorization and X-Api-Key."""

_UNAUTHENTICATED = 401


class OpsServer:
    """Serves /metrics, /healthz (200 while the process lives) and /readyz (200 when ready, else 503, with every check).

    Args:
        host, port: where to listen; port 0 takes a free one.
        ready: whether every condition holds, and each with its detail.
        may_read: whether the holder of a credential may see /metrics and what /readyz checks; None where anybody may.

    Raises:
        ConfigError: the port is taken, or this process may not listen on it.
    """

    def __init__(self, host: str, port: int, ready: ReadyState, may_read: MayRead | None = None) -> None:
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(ready, may_read))
        except OSError as error:
            raise ConfigError(
                f"ops server: cannot listen on {host}:{port}: {error.strerror}", hint="--ops-port"
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="ops", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def _handler(ready: ReadyState, may_read: MayRead | None) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            trusted = may_read is None or may_read(
                self.headers.get("Authorization", ""), self.headers.get("X-Api-Key", "")
            )
            match self.path.split("?")[0]:
                case "/metrics" if not trusted:
                    self._answer(401, b"/metrics needs an API key with the scope read\n", "text/plain")
                case "/metrics":
                    encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                    self._answer(200, encode(REGISTRY), content_type)
                case "/healthz":
                    self._answer(200, b"ok\n", "text/plain")
                case "/readyz":
                    ok, checks = ready()
                    body = clean(json.dumps({"ready": ok, "checks": checks} if trusted else {"ready": ok})).encode()
                    self._answer(200 if ok else 503, body, "application/json")
                case _:
                    self._answer(404, b"unknown path: /metrics, /healthz and /readyz are served here\n", "text/plain")

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            if status == _UNAUTHENTICATED:
                self.send_header("WWW-Authenticate", 'Bearer realm="headrace"')
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Log nothing: Prometheus asks every few seconds."""

    return Handler
