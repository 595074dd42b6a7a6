"""The gateway's REST edge: it reads bodies, calls the service and writes answers. Every error is {"error": "..."}."""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from sse_starlette import EventSourceResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from headrace import __version__
from headrace.runtime.rest import Measured, describe_invalid, errors, http_error, invalid, json_answer, unforeseen
from services.gateway import metrics
from services.gateway.errors import GatewayError, TooLargeError, UnknownError
from services.gateway.fanout import Choice, keys_of
from services.gateway.feed import Feed, start_of
from services.gateway.models import Models
from services.gateway.page.files import add_page
from services.gateway.service import Predictions, parse_events
from services.gateway.status import Status
from services.gateway.upstream import Upstream
from services.gateway.websocket import Following as WebSocketFollowing

PIPELINE = "/v1/pipelines/{pipeline}"

Name = Annotated[str, Path(description="the pipeline's name")]
_PASSED_ON = ("content-type", "traceparent")
_PING_S = 15
_ENDLESS = ("/predictions", "/shadows", "/live")


class Gateway:
    """What the routes need."""

    def __init__(
        self,
        models: Models,
        predictions: Predictions,
        ingest: Upstream,
        feeds: Mapping[str, Feed],
        status: Status,
        *,
        max_request_bytes: int,
    ) -> None:
        self.pipeline, self.models = models.pipeline, models
        self.predictions, self.ingest, self.feeds, self.status = predictions, ingest, feeds, status
        self.max_request_bytes = max_request_bytes

    def check(self, pipeline: str) -> None:
        """Check that it is this gateway's pipeline.

        Raises:
            UnknownError: it is another.
        """
        if pipeline != self.pipeline:
            raise UnknownError(f"unknown pipeline {pipeline!r}: this gateway serves {self.pipeline!r}")

    def model(self, name: str) -> str:
        """The model's name in the fleet.

        Raises:
            UnknownError: there is no such model.
        """
        return self.models.named(name)

    def feed(self, what: str) -> Feed:
        """The feed of the `predictions` or of the `shadows`.

        Raises:
            UnknownError: the pipeline has no shadows.
        """
        if (found := self.feeds.get(what)) is None:
            raise UnknownError(f"pipeline {self.pipeline!r} has no {what}: pipeline.yaml names them in `models`")
        return found

    def choice(self, keys: list[str] | None, model: str | None) -> Choice:
        """Which predictions a follower wants.

        Raises:
            BadRequestError: too many keys.
            UnknownError: there is no such model.
        """
        return Choice(None if keys is None else keys_of(keys), None if model is None else self.models.named(model))

    async def body(self, request: Request) -> bytes:
        """The whole body.

        Raises:
            TooLargeError: it is too large; the rest of it is not read.
        """
        parts, size = [], 0
        async for part in request.stream():
            parts.append(part)
            size += len(part)
            if size > self.max_request_bytes:
                raise TooLargeError(f"the body is larger than {self.max_request_bytes} bytes")
        return b"".join(parts)


def create_app(gateway: Gateway, *further: Callable[[FastAPI], None]) -> FastAPI:
    """The ASGI app, with its documentation at /docs. Each of `further` adds routes of its own."""
    app = FastAPIOffline(title="Headrace gateway", version=__version__, description="One REST address for everything.")
    app.add_middleware(Measured, observe=_observe)
    for kind, answer in (
        (GatewayError, _refused),
        (HTTPException, http_error),
        (RequestValidationError, invalid(404)),
        (Exception, unforeseen),
    ):
        app.add_exception_handler(kind, answer)
    describe_invalid(app, 404)
    _add_predict(app, gateway)
    _add_append(app, gateway, "events")
    _add_append(app, gateway, "labels")
    _add_follow(app, gateway, "predictions", "Follow the predictions as server-sent events")
    _add_follow(app, gateway, "shadows", "Follow the predictions of shadow models, which are not served to anybody")
    _add_models(app, gateway)
    _add_schema(app, gateway)
    _add_status(app, gateway)
    add_page(app)
    for add in further:
        add(app)
    return app


def _add_predict(app: FastAPI, gateway: Gateway) -> None:
    @app.post(
        f"{PIPELINE}/predict", summary="Predict one event or a list of events", openapi_extra=_BODY,
        responses=errors(400, 404, 413, 500, 503, 504),
    )  # fmt: skip
    async def predict(pipeline: Name, request: Request) -> Response:
        """Each prediction names the version of the weights and the checkpoint that made it."""
        gateway.check(pipeline)
        events, listed = parse_events(await gateway.body(request))
        made = [one.as_dict() for one in await gateway.predictions.predict(events)]
        return json_answer({"predictions": made} if listed else made[0])


def _add_append(app: FastAPI, gateway: Gateway, stream: Literal["events", "labels"]) -> None:
    @app.post(
        f"{PIPELINE}/{stream}", summary=f"Append {stream}", openapi_extra=_BODY,
        responses=errors(400, 404, 413, 429, 503, 504),
    )  # fmt: skip
    async def append(pipeline: Name, request: Request) -> Response:
        """The role `ingest` answers once the broker has acknowledged every accepted record."""
        gateway.check(pipeline)
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        answer = await gateway.ingest.forward(
            f"/v1/pipelines/{pipeline}/{stream}", await gateway.body(request), headers
        )
        return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))


def _add_follow(app: FastAPI, gateway: Gateway, what: Literal["predictions", "shadows"], summary: str) -> None:
    @app.get(
        f"{PIPELINE}/{what}", name=what, summary=summary, response_class=EventSourceResponse,
        responses=errors(400, 404, 429, 503),
    )  # fmt: skip
    async def follow(
        pipeline: Name,
        request: Request,
        start: Annotated[
            str | None, Query(alias="from", description="latest (the default), earliest, or partition:offset,...")
        ] = None,
        key: Annotated[list[str] | None, Query(description="only the predictions of these keys")] = None,
        model: Annotated[str | None, Query(description="only the predictions of this model")] = None,
    ) -> Response:
        """Each event's id is a position: a client that sends it as Last-Event-ID continues after that event.

        A WebSocket at the same path with `/ws` after it sends the same as JSON, and takes `{"keys": [...]}` from
        the client to change the keys.
        """
        gateway.check(pipeline)
        feed = gateway.feed(what)
        choice = gateway.choice(key, model)
        return _Following(await feed.follow(start_of(request.headers.get("last-event-id"), start), choice))

    @app.websocket(f"{PIPELINE}/{what}/ws", name=f"{what}-ws")
    async def follow_by_websocket(pipeline: str, socket: WebSocket) -> None:
        query = socket.query_params
        try:
            gateway.check(pipeline)
            choice = gateway.choice(query.getlist("key") or None, query.get("model"))
            start = start_of(socket.headers.get("last-event-id"), query.get("from"))
            frames = await gateway.feed(what).follow(start, choice)
        except GatewayError as error:
            await socket.send_denial_response(json_answer({"error": str(error)}, error.status))
            return
        try:
            await socket.accept()
        except BaseException:
            await frames.aclose()
            raise
        await WebSocketFollowing(socket, frames, choice).run()


def _add_models(app: FastAPI, gateway: Gateway) -> None:
    @app.get(
        f"{PIPELINE}/models", summary="The models of the pipeline: role, share of the keys, versions and errors",
        responses=errors(404),
    )  # fmt: skip
    async def models(pipeline: Name) -> Response:
        """`monitor` is null if no monitor answers, and if the champion is the only model: see /v1/status for that."""
        gateway.check(pipeline)
        path = PIPELINE.format(pipeline=pipeline)
        return json_answer({"models": gateway.models.report(path, await gateway.status.models())})


class _Following(EventSourceResponse):
    """Server-sent events. Its source is closed however the response ends, even if the client never reads a byte."""

    def __init__(self, frames: AsyncGenerator[bytes]) -> None:
        super().__init__(_greeted(frames), ping=_PING_S, headers={"X-Accel-Buffering": "no"})
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._frames.aclose()


async def _greeted(frames: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """First a comment, which tells the client that it is subscribed; then the frames."""
    yield b": headrace\n\n"
    async for frame in frames:
        yield frame


def _add_schema(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/v1/pipelines", summary="The pipeline that this gateway serves, with its models")
    async def pipelines() -> Response:
        return json_answer({"pipelines": [gateway.models.described()], "version": __version__})

    @app.get(
        f"{PIPELINE}/schema", summary="The JSON schemas of the pipeline's events and labels, and the key's field",
        responses=errors(404, 503, 504),
    )  # fmt: skip
    async def schema(pipeline: Name) -> Response:
        """The role `ingest` answers, which knows the pipeline's code."""
        gateway.check(pipeline)
        return json_answer(await gateway.ingest.get(f"/v1/pipelines/{pipeline}/schema"))


def _add_status(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/v1/status", summary="Every role's readiness, the fleet's versions, the monitor's numbers")
    async def status() -> Response:
        return json_answer(await gateway.status.report())


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"oneOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]}
            }
        },
    }
}


def _observe(route: str, status: int, seconds: float) -> None:
    metrics.REQUESTS.labels(route, str(status)).inc()
    if not route.endswith(_ENDLESS) and "{rest" not in route:
        metrics.SECONDS.labels(route).observe(seconds)


async def _refused(_: Request, error: Exception) -> Response:
    return json_answer({"error": str(error)}, error.status if isinstance(error, GatewayError) else 500)
