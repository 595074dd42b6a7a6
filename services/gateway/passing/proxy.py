"""Passes requests on to a role: body and answer go through as they come, neither is held in memory.

A request is sent once. Only where a process of the role cannot be connected to is the next one tried, since nothing of
the body was read by then.
"""

from collections.abc import AsyncIterator, Iterable, Sequence

import httpx
from fastapi import FastAPI, Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from headrace.runtime.secrets import masked
from services.gateway.errors import TooLargeError, UnavailableError
from services.gateway.passing.prefixes import Prefix, starts
from services.gateway.upstream import Resolve

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
    "upgrade", "host",
}  # fmt: skip
"""Headers that are about one connection (RFC 9110, 7.6.1), and the host."""
_OWN = {"content-length", "date", "server"}


class Passing:
    """One role's paths.

    Args:
        role: whose they are.
        resolve: gives the addresses of its processes, asked at each request.
        client: the HTTP client that all of the gateway shares.
        max_bytes: a longer body is refused.
    """

    def __init__(self, role: str, resolve: Resolve, client: httpx.AsyncClient, max_bytes: int) -> None:
        self._role, self._resolve, self._client, self._max_bytes = role, resolve, client, max_bytes

    async def answer(self, request: Request) -> Response:
        """The role's answer.

        Raises:
            TooLargeError: the body is larger than is allowed.
            UnavailableError: no process of the role can be reached, or it went away before it answered.
        """
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > self._max_bytes:
            raise self._too_large()
        query = request.url.query
        path = request.scope["raw_path"].decode("ascii", "replace").partition("?")[0] + (f"?{query}" if query else "")
        answer = await self._sent(request, path)
        headers = _passed_on(answer.headers.multi_items())
        return _Streamed(answer, headers)

    async def _sent(self, request: Request, path: str) -> httpx.Response:
        headers = _passed_on(request.headers.items())
        reasons = list[str]()
        for address in self._resolve():
            content = self._body(request) if _has_body(request) else None
            made = self._client.build_request(request.method, address + path, headers=headers, content=content)
            try:
                return await self._client.send(made, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                reasons.append(f"{masked(address)}: {error!r}")
            except httpx.TransportError as error:
                raise UnavailableError(f"role {self._role} went away while answering: {error!r}") from error
        if reasons:
            raise UnavailableError(f"role {self._role} is not available: {'; '.join(reasons)}")
        raise UnavailableError(f"role {self._role} is not running: `{starts(self._role)}` starts it")

    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > self._max_bytes:
                raise self._too_large()
            yield part

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"the body is larger than {self._max_bytes} bytes: --max-passed-bytes of the gateway")


def add_passing(app: FastAPI, passing: Sequence[tuple[Prefix, Passing]]) -> None:
    """Add the routes. Their documentation is that of the roles."""
    for prefix, to in passing:
        for path in (prefix.path, f"{prefix.path}/{{rest:path}}"):
            app.add_route(path, to.answer, methods=METHODS, include_in_schema=False)


def _has_body(request: Request) -> bool:
    return "content-length" in request.headers or "transfer-encoding" in request.headers


def _passed_on(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP]


class _Streamed(StreamingResponse):
    """An answer as it comes. It is closed however the response ends, so that a role's stream ends with its client."""

    def __init__(self, answer: httpx.Response, headers: Sequence[tuple[str, str]]) -> None:
        super().__init__(answer.aiter_raw(), answer.status_code)
        self._answer = answer
        self.raw_headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in headers
            if name.lower() not in _OWN - {"content-length"}
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._answer.aclose()
