"""REST of the role `archive`: SQL over the records, and series of the metrics. Every error is {"error": "..."}."""

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from headrace import __version__
from headrace.archive.queries.checking import QueryError, QueryTimeoutError, QueryTooLargeError
from headrace.archive.series.points import Aggregation
from headrace.archive.series.reading import Selection, Window, labels_of_text, window_of
from headrace.runtime.errors import ConfigError, HeadraceError
from headrace.runtime.rest import Measured, describe_invalid, errors, http_error, invalid, json_answer, unforeseen
from services.archive import metrics
from services.archive.queries import Answerer, BusyError

_MOST_JSON = 1 << 20
_STATUS = {QueryTimeoutError: 408, QueryTooLargeError: 413, BusyError: 429}
_CSV, _PARQUET = "text/csv", "application/vnd.apache.parquet"

From = Annotated[str, Query(alias="from", max_length=40, description="ISO 8601, seconds since the epoch, or -1h")]
To = Annotated[str, Query(max_length=40, description="the same; default now")]
Text = Annotated[str | None, Query(max_length=200)]


class Question(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /v1/query."""

    sql: str
    limit: Annotated[int, msgspec.Meta(ge=1)] = 1000
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 30.0


def create_app(answerer: Answerer) -> FastAPI:
    """The ASGI app, with its documentation at /docs."""
    app = FastAPIOffline(title="Headrace archive", version=__version__, description="Records and metrics, kept.")
    app.add_middleware(Measured, observe=metrics.request)
    for kind, answer in (
        (HeadraceError, _refused),
        (HTTPException, http_error),
        (RequestValidationError, invalid(400)),
        (Exception, unforeseen),
    ):
        app.add_exception_handler(kind, answer)
    describe_invalid(app, 400)
    _add_records(app, answerer)
    _add_metrics(app, answerer)
    return app


def _add_records(app: FastAPI, answerer: Answerer) -> None:
    @app.get("/v1/tables", summary="The tables: their columns, and what is in them", responses=errors(429, 503))
    async def tables() -> Response:
        return json_answer({"tables": await asyncio.to_thread(answerer.tables)})

    @app.post(
        "/v1/query", summary="Ask in SQL: one select over the tables", openapi_extra=_BODY,
        responses={200: _ANSWERS, **errors(400, 408, 413, 429, 503)},
    )  # fmt: skip
    async def query(request: Request) -> Response:
        """Answered as JSON, or as `Accept` says: text/csv, application/vnd.apache.parquet."""
        question = _question(await _small_body(request))
        accept = request.headers.get("accept", "").partition(",")[0].partition(";")[0].strip()
        form = {_CSV: "csv", _PARQUET: "parquet"}.get(accept, "json")
        body = await asyncio.to_thread(answerer.query, question.sql, question.limit, question.timeout_s, form)
        media = {"csv": _CSV, "parquet": _PARQUET, "json": "application/json"}[form]
        return Response(body, media_type=media)


def _add_metrics(app: FastAPI, answerer: Answerer) -> None:
    @app.get("/v1/metrics/names", summary="The metrics, and how many series each has", responses=errors(400, 503))
    async def names(start: From = "", to: To = "") -> Response:
        counts = await asyncio.to_thread(answerer.metrics.names, _window(start, to))
        return json_answer({"names": [{"name": name, "series": count} for name, count in counts.items()]})

    @app.get("/v1/metrics/series/list", summary="The series of some metrics", responses=errors(400, 503))
    async def series_list(  # noqa: PLR0917 - FastAPI passes them by name
        metric: Annotated[list[str], Query(max_length=100)],
        model: Text = None,
        version: Annotated[int | None, Query(ge=0, le=2**62)] = None,
        slice: Text = None,  # noqa: A002 - the query's name
        labels: Text = None,
        start: From = "",
        to: To = "",
    ) -> Response:
        selection = Selection(metric, model, version, slice, labels_of_text(labels or ""))
        found = await asyncio.to_thread(answerer.metrics.series, selection, _window(start, to))
        return json_answer({"series": [one.shown() for one in found]})

    @app.get("/v1/metrics/series", summary="The points of series, at a step", responses=errors(400, 503))
    async def series(  # noqa: PLR0917 - FastAPI passes them by name
        metric: Annotated[list[str], Query(max_length=100)],
        model: Text = None,
        version: Annotated[int | None, Query(ge=0, le=2**62)] = None,
        slice: Text = None,  # noqa: A002 - the query's name
        labels: Annotated[str | None, Query(max_length=200, description="name=value,name=value")] = None,
        start: From = "",
        to: To = "",
        step: Annotated[str, Query(max_length=12, description="10s, 1m, 1h; default: 500 points at most")] = "",
        aggregation: Aggregation = "avg",
    ) -> Response:
        selection, window = (
            Selection(metric, model, version, slice, labels_of_text(labels or "")),
            _window(start, to, step),
        )
        found = await asyncio.to_thread(answerer.metrics.query, selection, window, aggregation)
        return json_answer(
            {
                "from": window.start, "to": window.end, "step_s": window.step / 1000, "aggregation": aggregation,
                "series": [{**one.shown(), "points": one.points} for one in found],
            }
        )  # fmt: skip


def _window(start: str, to: str, step: str = "") -> Window:
    return window_of(start or None, to or None, step or None)


def _question(body: bytes) -> Question:
    try:
        return msgspec.json.decode(body, type=Question)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise QueryError(f"the body: {error}", hint='{"sql": "select ...", "limit": 1000}') from error


async def _small_body(request: Request) -> bytes:
    parts, size = list[bytes](), 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > _MOST_JSON:
            raise QueryTooLargeError(f"the body is larger than {_MOST_JSON} bytes")
    return b"".join(parts)


async def _refused(_: Request, error: Exception) -> Response:
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), None)
    if status is None:
        status = 400 if isinstance(error, ConfigError) else 503
    return json_answer({"error": str(error)}, status, {"Retry-After": "5"} if status in {429, 503} else None)


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["sql"],
                    "additionalProperties": False,
                    "properties": {
                        "sql": {"type": "string"},
                        "limit": {"type": "integer", "minimum": 1, "default": 1000},
                        "timeout_s": {"type": "number", "exclusiveMinimum": 0, "default": 30},
                    },
                }
            }
        },
    }
}
_ANSWERS: dict[str, Any] = {
    "description": "The rows.",
    "content": {
        "application/json": {"schema": {"type": "object"}},
        _CSV: {"schema": {"type": "string", "format": "binary"}},
        _PARQUET: {"schema": {"type": "string", "format": "binary"}},
    },
}
