"""What the REST edges of services share: answers as JSON, errors as {"error": "..."}, and requests counted by route."""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Observe = Callable[[str, int, float], None]
"""Is told of a request when it ends: its route, the answer's status and the seconds it took."""

ERROR: dict[str, Any] = {
    "description": "What was wrong.",
    "content": {
        "application/json": {
            "schema": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
        }
    },
}
"""An error's answer, for the documentation of routes."""


class Measured:
    """Tells `observe` of each request. It is plain ASGI, since Starlette's middleware class wraps every stream."""

    def __init__(self, app: ASGIApp, observe: Observe) -> None:
        self._app, self._observe = app, observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, observed)
        finally:
            self._observe(getattr(scope.get("route"), "path", "unknown"), status, time.perf_counter() - started)


def json_answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`content` as JSON."""
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


async def http_error(_: Request, error: Exception) -> Response:
    """What the framework refuses: an unknown path, a method that a path lacks."""
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, str(error))
    return json_answer({"error": detail}, status)


def invalid(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Answers with `status` where a path, a query or a body does not fit what the route declares."""

    async def answer(_: Request, error: Exception) -> Response:
        problems = error.errors() if isinstance(error, RequestValidationError) else []
        where = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems)
        return json_answer({"error": where}, status)

    return answer


async def unforeseen(_: Request, error: Exception) -> Response:
    """A fault of ours: named by its type, without a stack trace."""
    return json_answer({"error": f"internal error: {type(error).__name__}"}, 500)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These statuses as a route's documentation says them."""
    return dict.fromkeys(statuses, ERROR)


def describe_invalid(app: FastAPI, status: int) -> None:
    """Have the documentation say `status`, which `invalid` answers, where FastAPI's own would say 422."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        for operation in _operations(document):
            answers = operation["responses"]
            if "HTTPValidationError" in str(answers.get("422")):
                del answers["422"]
                answers.setdefault(str(status), ERROR)
        for schema in ("HTTPValidationError", "ValidationError"):
            document.get("components", {}).get("schemas", {}).pop(schema, None)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _operations(document: dict[str, Any]) -> Iterable[dict[str, Any]]:
    return (operation for path in document["paths"].values() for operation in path.values())
