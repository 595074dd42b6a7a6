"""The REST edge of the role `rpc`: Open Inference Protocol v2, and its documentation at /docs.

The routes are plain Starlette ones, since a request's cost is Python's; openapi.py describes them.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from services.inference.oip import describe
from services.inference.oip.messages import InvalidRequest, OipError, Unsupported
from services.inference.oip.rest_codec import (
    HEADER_LENGTH,
    MAX_BODY,
    decompress,
    parse_infer,
    parse_json,
)
from services.inference.oip.shared_memory import NO_CUDA, Regions
from services.inference.rpc.control.operations import Control
from services.inference.rpc.models.registry import Registry
from services.inference.rpc.observe.observer import Observer, Seen
from services.inference.rpc.observe.report import Incoming
from services.inference.rpc.rest.infer import ROUTE, Headers, answer_headers, error_headers
from services.inference.rpc.rest.openapi import document

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
            ("POST", f"{prefix}/infer", rest.infer),
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
        self._models, self._control, self._observer = models, control, observer
        self.system, self.cuda = _System(models.regions, control), _Cuda()

    async def live(self, _: Request) -> Response:
        return Response()

    async def ready(self, _: Request) -> Response:
        return Response(status_code=200 if self._models.ready else 400)

    async def model_ready(self, request: Request) -> Response:
        return Response(status_code=200 if self._models.model_ready(*_model(request)) else 400)

    async def server_metadata(self, _: Request) -> Response:
        return _json(describe.server_metadata(shared_memory=self._models.regions.on))

    async def metadata(self, request: Request) -> Response:
        return _json(self._models.metadata(*_model(request)))

    async def config(self, request: Request) -> Response:
        return _json(self._models.config(*_model(request)))

    async def statistics(self, request: Request) -> Response:
        try:
            return _json({"model_stats": await self._control.statistics(*_model(request))})
        except OipError as error:
            raise InvalidRequest(
                str(error)
            ) from error  # for statistics alone the protocol answers 400 to an unknown model

    async def infer(self, request: Request) -> Response:
        """What `rest_infer` leaves to the framework."""
        body, client = await _body(request), request.client
        peer = f"{client.host}:{client.port}" if client else ""
        if self._observer is None:
            return await self._infer(request, body, peer, None)
        headers, said = request.headers, (peer, len(body), *_model(request))
        seen = self._observer.begin(lambda name: headers.get(name, ""), lambda: Incoming("rest", ROUTE, *said))
        try:
            return await self._infer(request, body, peer, seen)
        except OipError as error:
            if seen is not None:
                seen.answered(error, error.http, len(error_headers(error)[1]))
            raise

    async def _infer(self, request: Request, body: bytes, peer: str, seen: Seen | None) -> Response:
        headers, (model, version) = request.headers, _model(request)
        inputs, regions = self._models.find(model).inputs, self._models.regions
        body = decompress(body, headers.get("content-encoding", "").lower())
        length = headers.get(HEADER_LENGTH) or None
        parsed, binary = parse_infer(model, version, body, length, inputs, regions=regions)
        answer = await self._models.infer(parsed, peer, seen)
        response = _raw(200, *answer_headers(answer, binary, headers.get("accept-encoding", "")))
        if seen is not None:
            seen.answered(answer, 200, len(response.body))
        return response

    async def index(self, request: Request) -> Response:
        return _json(self._models.index(ready_only=parse_json(await _body(request)).get("ready") is True))

    async def load(self, request: Request) -> Response:
        parameters = parse_json(await _body(request)).get("parameters") or {}
        if not isinstance(parameters, dict):
            raise InvalidRequest("'parameters' must be an object")
        await self._control.load(request.path_params["model"], parameters)
        return Response()

    async def unload(self, request: Request) -> Response:
        await self._control.unload(request.path_params["model"])
        return Response()

    async def logging(self, request: Request) -> Response:
        return _json(await self._control.logging(parse_json(await _body(request))))

    async def trace(self, request: Request) -> Response:
        return _json(await self._control.trace(parse_json(await _body(request))))


class _System:
    """The endpoints of system shared memory."""

    def __init__(self, regions: Regions, control: Control) -> None:
        self._regions, self._control = regions, control

    async def status(self, request: Request) -> Response:
        return _json(self._regions.status(_region(request)))

    async def register(self, request: Request) -> Response:
        body = parse_json(await _body(request))
        await self._control.register(_region(request), body.get("key"), body.get("offset", 0), body.get("byte_size"))
        return Response()

    async def unregister(self, request: Request) -> Response:
        await self._control.unregister(_region(request))
        return Response()


class _Cuda:
    """The endpoints of CUDA shared memory: nothing can be registered. Load generators unregister all the same."""

    async def status(self, request: Request) -> Response:
        if region := _region(request):
            raise InvalidRequest(f"Unable to find shared memory region: '{region}'")
        return _json([])

    async def register(self, _: Request) -> Response:
        raise Unsupported(NO_CUDA)

    async def unregister(self, _: Request) -> Response:
        return Response()


async def _body(request: Request) -> bytes:
    """The whole body.

    Raises:
        InvalidRequest: it is too large; the rest of it is not read.
    """
    parts, size = list[bytes](), 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY:
            raise InvalidRequest(f"the body is larger than {MAX_BODY} bytes")
        parts.append(part)
    return b"".join(parts)


def _region(request: Request) -> str:
    return str(request.path_params.get("region", ""))


def _model(request: Request) -> tuple[str, str]:
    return request.path_params.get("model", ""), request.path_params.get("version", "")


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _raw(status: int, headers: Headers, body: bytes) -> Response:
    return Response(body, status, headers={name.decode(): value.decode() for name, value in headers})


async def _http_error(_: Request, error: Exception) -> Response:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, str(error))
    return _json({"error": detail}, status)


async def _oip_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, OipError):
        return await _unforeseen(_, error)
    return _raw(error.http, *error_headers(error))


async def _unforeseen(_: Request, error: Exception) -> Response:
    return _json({"error": f"internal error: {type(error).__name__}"}, 500)


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=499)
