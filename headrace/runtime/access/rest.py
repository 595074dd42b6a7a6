"""The guard before an ASGI app: REST and WebSockets."""

import http.cookies
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson

from headrace.runtime.access.errors import Refused, TooManyRequests, Unauthenticated
from headrace.runtime.access.guard import Asked, Guard, credential_of
from headrace.runtime.access.keys import Principal
from headrace.runtime.access.scopes import rest_scope
from headrace.runtime.errors import DependencyError

CSRF_HEADER = b"x-csrf-token"
COOKIE = "headrace_session"

ASGIApp = Callable[[Any, Any, Any], Any]
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class SessionCredentials(Protocol):
    """The page's sessions (`headrace.runtime.access.sessions`)."""

    def credential(self, session: str, csrf: str | None) -> str:
        """The credential that a session stands for; `csrf` is None where nothing is changed.

        Raises:
            Unauthenticated: there is no such session.
            Forbidden: the CSRF token is not the session's.
        """
        ...


class Guarded:
    """Answers 401, 403 and 429 itself, and lets all else through, with the caller in the scope's state.

    Args:
        app: what is guarded.
        guard: decides.
        is_open: paths that need nothing, such as a page's scripts.
        sessions: the page's sessions, where the app has a page.
    """

    def __init__(
        self,
        app: ASGIApp,
        guard: Guard,
        is_open: Callable[[str], bool] = lambda _: False,
        sessions: SessionCredentials | None = None,
    ) -> None:
        self._app, self._guard, self._is_open, self._sessions = app, guard, is_open, sessions

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """See ASGI."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        method = scope.get("method", "GET")
        needed = None if self._is_open(scope["path"]) else rest_scope(method, scope["path"])
        if needed is None:
            await self._app(scope, receive, send)
            return
        asked = Asked(f"{method} {scope['path']}"[:500], needed, _peer(scope))
        principal: Principal | None = None
        try:
            credential, by_session = self._credential(scope, method)
            principal = await self._guard.identify(credential)
            self._guard.allow(principal, needed)
        except Refused as refused:
            self._guard.refused(asked, principal, refused, refused.status)
            await _refuse(scope, send, refused.status, str(refused), _headers(refused))
            return
        except DependencyError as error:
            await _refuse(scope, send, 503, error.message, [])
            return
        if by_session:
            scope = {**scope, "headers": _with_credential(scope["headers"], credential)}
        scope.setdefault("state", {})["principal"] = principal
        await self._pass(scope, receive, send, asked, principal)

    async def _pass(self, scope: Any, receive: Any, send: Any, asked: Asked, principal: Principal) -> None:
        status = 500

        async def observed(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, observed)
        finally:
            if scope["type"] == "http":
                self._guard.answered(asked, principal, status)

    def _credential(self, scope: Any, method: str) -> tuple[str, bool]:
        """The credential, and whether a session stands for it."""
        headers = dict(reversed(scope["headers"]))  # of two with one name the first counts
        own = credential_of(_text(headers, b"authorization"), _text(headers, b"x-api-key"))
        if own or self._sessions is None:
            return own, False
        session = _cookie(_text(headers, b"cookie"))
        if not session:
            return "", False
        changes = method not in _SAFE or scope["type"] == "websocket"
        return self._sessions.credential(session, _csrf(scope, headers) if changes else None), True


def _with_credential(headers: list[tuple[bytes, bytes]], credential: str) -> list[tuple[bytes, bytes]]:
    """As if the caller had sent it: the gateway passes it on to other roles, and keeps the session to itself."""
    kept = [(name, value) for name, value in headers if name not in (b"cookie", b"authorization", CSRF_HEADER)]
    return [*kept, (b"authorization", b"Bearer " + credential.encode("latin-1"))]


def _csrf(scope: Any, headers: Mapping[bytes, bytes]) -> str:
    if scope["type"] != "websocket":
        return _text(headers, CSRF_HEADER)
    query = scope.get("query_string", b"").decode("latin-1")  # a browser's WebSocket sends no headers of ours
    return next((part.partition("=")[2] for part in query.split("&") if part.startswith("csrf=")), "")


def _cookie(header: str) -> str:
    try:
        found = http.cookies.SimpleCookie(header).get(COOKIE)
    except http.cookies.CookieError:
        return ""
    return found.value if found is not None else ""


async def _refuse(scope: Any, send: Any, status: int, why: str, headers: list[tuple[bytes, bytes]]) -> None:
    kind = "http" if scope["type"] == "http" else "websocket.http"
    if kind == "websocket.http" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": why[:120]})
        return
    body = orjson.dumps({"error": why})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": f"{kind}.response.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": body})


def _headers(refused: Refused) -> list[tuple[bytes, bytes]]:
    if isinstance(refused, Unauthenticated):
        return [(b"www-authenticate", b'Bearer realm="headrace"'), (b"connection", b"close")]
    if isinstance(refused, TooManyRequests):
        return [(b"retry-after", b"%d" % max(1, math.ceil(refused.retry_after_s)))]
    return []


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")


def _peer(scope: Any) -> str:
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client else ""
