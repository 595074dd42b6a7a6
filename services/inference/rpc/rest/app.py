"""The REST edge of the role `rpc`: Open Inference Protocol v2, and its documentation at /docs.

The routes are plain Starlette ones, since a request's cost is Python's; openapi.py describes them.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from services.inference.oip import describe
from services.inference.oip.messages import InvalidRequest, OipError
from services.inference.oip.rest_codec import parse_json
from services.inference.rpc.control.operations import Control
from services.inference.rpc.models.registry import Registry
from services.inference.rpc.observe.observer import Observer
from services.inference.rpc.rest.answers import error_headers
from services.inference.rpc.rest.bodies import as_json, body_of
from services.inference.rpc.rest.openapi import document
from services.inference.rpc.rest.predicting import Predicting, model_of, raw
from services.inference.rpc.rest.shared_memory import CudaRegions, SystemRegions

Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(
    models: Registry, control: Control, samples: Sequence[Any] = (), observer: Observer | None = None
) -> FastAPI:
    """An ASGI app that serves `models`. Its own documentation is at /docs; the first of `samples` is its example.

    `observer` is shown the requests to predict.
    """
    app = FastAPIOffline(title="Headrace inference")
    described = document(next(iter(models)).config(), samples)
    app.openapi = lambda: described  # type: ignore[method-assign]  # FastAPI's own lists no plain routes
    rest = _Rest(models, control, observer)
    plain = [Route(path, endpoint, methods=[method]) for method, path, endpoint in _routes(rest)]
    app.router.routes[:0] = plain  # first, so that the pages of the documentation cost a request nothing
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(OipError, _oip_error)
    app.add_exception_handler(Exception, _unforeseen)
    app.add_exception_handler(ClientDisconnect, _gone)
    return app


def _routes(rest: "_Rest") -> list[tuple[str, str, Endpoint]]:
    model, versioned = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
    routes: list[tuple[str, str, Endpoint]] = [
        ("GET", "/v2/health/live", rest.live),
        ("GET", "/v2/health/ready", rest.ready),
        ("GET", "/v2", rest.server_metadata),
        ("GET", "/v2/models/stats", rest.statistics),
        ("POST", "/v2/repository/index", rest.index),
        ("POST", "/v2/repository/models/{model}/load", rest.load),
        ("POST", "/v2/repository/models/{model}/unload", rest.unload),
        ("GET", "/v2/logging", rest.logging),
        ("POST", "/v2/logging", rest.logging),
    ]
    for prefix in (model, versioned):
        routes += [
            ("POST", f"{prefix}/infer", rest.predict.infer),
            ("POST", f"{prefix}/generate", rest.predict.generate),
            ("POST", f"{prefix}/generate_stream", rest.predict.generate_stream),
            ("GET", f"{prefix}/ready", rest.model_ready),
            ("GET", f"{prefix}/config", rest.config),
            ("GET", f"{prefix}/stats", rest.statistics),
            ("GET", prefix, rest.metadata),
        ]
    for prefix in ("/v2/trace", f"{model}/trace"):
        routes += [("GET", f"{prefix}/setting", rest.trace), ("POST", f"{prefix}/setting", rest.trace)]
    every, one = "/v2/{kind}sharedmemory", "/v2/{kind}sharedmemory/region/{{region}}"
    for kind, of in (("system", rest.system), ("cuda", rest.cuda)):
        for prefix in (every.format(kind=kind), one.format(kind=kind)):
            routes += [("GET", f"{prefix}/status", of.status), ("POST", f"{prefix}/unregister", of.unregister)]
        routes.append(("POST", f"{one.format(kind=kind)}/register", of.register))
    return routes


class _Rest:
    """The endpoints."""

    def __init__(self, models: Registry, control: Control, observer: Observer | None) -> None:
        self._models, self._control = models, control
        self.predict = Predicting(models, observer)
        self.system, self.cuda = SystemRegions(models.regions, control), CudaRegions()

    async def live(self, _: Request) -> Response:
        return Response()

    async def ready(self, _: Request) -> Response:
        return Response(status_code=200 if self._models.ready else 400)

    async def model_ready(self, request: Request) -> Response:
        return Response(status_code=200 if self._models.model_ready(*model_of(request)) else 400)

    async def server_metadata(self, _: Request) -> Response:
        return as_json(describe.server_metadata(shared_memory=self._models.regions.on))

    async def metadata(self, request: Request) -> Response:
        return as_json(self._models.metadata(*model_of(request)))

    async def config(self, request: Request) -> Response:
        return as_json(self._models.config(*model_of(request)))

    async def statistics(self, request: Request) -> Response:
        try:
            return as_json({"model_stats": await self._control.statistics(*model_of(request))})
        except OipError as error:
            raise InvalidRequest(
                str(error)
            ) from error  # for statistics alone the protocol answers 400 to an unknown model

    async def index(self, request: Request) -> Response:
        return as_json(self._models.index(ready_only=parse_json(await body_of(request)).get("ready") is True))

    async def load(self, request: Request) -> Response:
        parameters = parse_json(await body_of(request)).get("parameters") or {}
        if not isinstance(parameters, dict):
            raise InvalidRequest("'parameters' must be an object")
        await self._control.load(request.path_params["model"], parameters)
        return Response()

    async def unload(self, request: Request) -> Response:
        await self._control.unload(request.path_params["model"])
        return Response()

    async def logging(self, request: Request) -> Response:
        return as_json(await self._control.logging(parse_json(await body_of(request))))

    async def trace(self, request: Request) -> Response:
        return as_json(await self._control.trace(parse_json(await body_of(request))))


async def _http_error(_: Request, error: Exception) -> Response:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, str(error))
    return as_json({"error": detail}, status)


async def _oip_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, OipError):
        return await _unforeseen(_, error)
    return raw(error.http, *error_headers(error))


async def _unforeseen(_: Request, error: Exception) -> Response:
    return as_json({"error": f"internal error: {type(error).__name__}"}, 500)


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=499)
