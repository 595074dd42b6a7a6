"""REST: `POST /v1/pipelines/{pipeline}/{events|labels}`: bodies in, `Ingest.produce`, answers and status codes out."""

from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, Path, Request, Response
from fastapi_offline import FastAPIOffline

from headrace import __version__
from headrace.contracts.records import TRACEPARENT
from headrace.runtime.errors import HeadraceError
from services.ingest.bodies import JSON, NDJSON, BadBodyError, split
from services.ingest.service import (
    STREAMS,
    Ingest,
    Outcome,
    OverloadedError,
    Stream,
    TooLargeError,
    UnacknowledgedError,
    UnknownPipelineError,
)

_STATUS: dict[type[HeadraceError], int] = {
    UnknownPipelineError: 404,
    TooLargeError: 413,
    OverloadedError: 429,
    UnacknowledgedError: 503,
}


def create_app(ingest: Ingest, *, max_request_bytes: int) -> FastAPI:
    """The ASGI app. Its own documentation is at /docs."""
    app = FastAPIOffline(title="Headrace ingest", version=__version__, description="Records into a pipeline's topics.")

    async def failed(_: Request, error: Exception) -> Response:
        return _failure(error)

    app.add_exception_handler(HeadraceError, failed)
    app.add_exception_handler(BadBodyError, failed)
    for stream in STREAMS:
        _add_route(app, ingest, stream, max_request_bytes)
    _add_schema(app, ingest)
    return app


def _add_schema(app: FastAPI, ingest: Ingest) -> None:
    @app.get(
        "/v1/pipelines/{pipeline}/schema",
        summary="The JSON schemas of the pipeline's events and labels, and the name of the key's field",
        responses={404: _RESPONSES[404]},
    )
    async def schema(pipeline: Annotated[str, Path(description="the pipeline's name")]) -> Response:
        """What a form is made from. A type that has no JSON schema is `{}`: any value may fit it."""
        events, labels = (ingest.schema(pipeline, stream) for stream in STREAMS)
        return _json(200, {"key": events.key, "event": events.json_schema, "label": labels.json_schema})


def _add_route(app: FastAPI, ingest: Ingest, stream: Stream, max_request_bytes: int) -> None:
    async def append(pipeline: Annotated[str, Path(description="the pipeline's name")], request: Request) -> Response:
        ingest.schema(pipeline, stream)
        records = split(await _body(request, max_request_bytes), request.headers.get("content-type", ""))
        outcome = await ingest.produce(pipeline, stream, records, traceparent=request.headers.get(TRACEPARENT))
        return _answer(outcome)

    app.add_api_route(
        f"/v1/pipelines/{{pipeline}}/{stream}",
        append,
        methods=["POST"],
        name=f"append {stream}",
        summary=f"Append {stream}: one JSON object, a JSON array of them, or one a line (NDJSON)",
        description="Answered once the broker has acknowledged every accepted record. A record that does not fit the "
        "schema is rejected by itself and does not hold up the others.",
        response_class=Response,
        openapi_extra={"requestBody": _REQUEST},
        responses=_RESPONSES,
    )


async def _body(request: Request, limit: int) -> bytes:
    """The whole body, given up as soon as it is too large."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(int(announced), limit)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _too_large(size, limit)
        parts.append(part)
    return b"".join(parts)


def _too_large(size: int, limit: int) -> TooLargeError:
    return TooLargeError(
        f"the body has {size} bytes or more; {limit} are allowed", hint="send the records in several requests"
    )


def _answer(outcome: Outcome) -> Response:
    if outcome.accepted:
        return _json(200, msgspec.to_builtins(outcome))
    first = outcome.rejected[0].reason
    return _json(400, {"error": f"no record fits the schema: {first}", **msgspec.to_builtins(outcome)})


def _failure(error: Exception) -> Response:
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    body: dict[str, Any] = {"error": str(error)}
    if isinstance(error, BadBodyError):
        status = 400
    if isinstance(error, UnacknowledgedError):
        body |= {"unacknowledged": list(error.indexes), "accepted": error.acknowledged}
    return _json(status, body, {"Retry-After": "1"} if status in (429, 503) else None)


def _json(status: int, content: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, media_type=JSON)


_REQUEST: dict[str, Any] = {
    "required": True,
    "content": {
        JSON: {"schema": {"oneOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]}},
        NDJSON: {"schema": {"type": "string", "description": "one JSON object a line"}},
    },
}
_ERROR = {
    "content": {
        JSON: {"schema": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}}
    }
}
_OUTCOME = {
    "type": "object",
    "properties": {
        "accepted": {"type": "integer"},
        "rejected": {
            "type": "array",
            "items": {"type": "object", "properties": {"index": {"type": "integer"}, "reason": {"type": "string"}}},
        },
    },
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "Every accepted record is durable.", "content": {JSON: {"schema": _OUTCOME}}},
    400: {"description": "The body is not JSON, or no record fits the schema.", **_ERROR},
    404: {"description": "This pipeline is not served here.", **_ERROR},
    413: {"description": "The body is too large.", **_ERROR},
    429: {"description": "Too many records are in flight; try again.", **_ERROR},
    503: {
        "description": "The broker did not acknowledge in time; `unacknowledged` names the records' positions.",
        **_ERROR,
    },
}
