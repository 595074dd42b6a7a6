"""The REST endpoints that predict, where the framework serves them: `infer`, `generate` and `generate_stream`."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from services.inference.oip.generate import parse_generate, render_generated
from services.inference.oip.messages import InferAnswer, OipError
from services.inference.oip.rest_codec import HEADER_LENGTH, decompress, parse_infer
from services.inference.rpc.models.registry import Registry
from services.inference.rpc.observe.observer import Observer, Seen
from services.inference.rpc.observe.report import Incoming
from services.inference.rpc.rest.answers import Headers, answer_headers, error_headers
from services.inference.rpc.rest.bodies import body_of
from services.inference.rpc.rest.infer import ROUTE

Predict = Callable[[Request, bytes, str, Seen | None], Awaitable[tuple[InferAnswer, Response]]]

_GENERATE = "POST /v2/models/{model}/generate"


class Predicting:
    """The endpoints. `observer` is shown the requests."""

    def __init__(self, models: Registry, observer: Observer | None) -> None:
        self._models, self._observer = models, observer

    async def infer(self, request: Request) -> Response:
        """What `services.inference.rpc.rest.infer` leaves to the framework."""
        return await self._observed(request, ROUTE, self._infer)

    async def generate(self, request: Request) -> Response:
        """One event as a JSON object; see `services.inference.oip.generate`."""
        return await self._observed(request, _GENERATE, self._generate)

    async def generate_stream(self, request: Request) -> Response:
        """As `generate`, the answer as a server-sent event. Models here give one answer to a request."""
        response = await self._observed(request, f"{_GENERATE}_stream", self._generate)
        event = b"data: " + bytes(response.body) + b"\n\n"
        return Response(event, media_type="text/event-stream", headers={"cache-control": "no-cache"})

    async def _observed(self, request: Request, route: str, predict: Predict) -> Response:
        body, client = await body_of(request), request.client
        peer = f"{client.host}:{client.port}" if client else ""
        if self._observer is None:
            return (await predict(request, body, peer, None))[1]
        headers, said = request.headers, (peer, len(body), *model_of(request))
        seen = self._observer.begin(lambda name: headers.get(name, ""), lambda: Incoming("rest", route, *said))
        try:
            answer, response = await predict(request, body, peer, seen)
        except OipError as error:
            if seen is not None:
                seen.answered(error, error.http, len(error_headers(error)[1]))
            raise
        if seen is not None:
            seen.answered(answer, 200, len(response.body))
        return response

    async def _infer(self, request: Request, body: bytes, peer: str, seen: Seen | None) -> tuple[InferAnswer, Response]:
        headers, (model, version) = request.headers, model_of(request)
        inputs, regions = self._models.find(model).inputs, self._models.regions
        length = headers.get(HEADER_LENGTH) or None
        parsed, binary = parse_infer(model, version, _plain(request, body), length, inputs, regions=regions)
        answer = await self._models.infer(parsed, peer, seen)
        return answer, raw(200, *answer_headers(answer, binary, headers.get("accept-encoding", "")))

    async def _generate(
        self, request: Request, body: bytes, peer: str, seen: Seen | None
    ) -> tuple[InferAnswer, Response]:
        model, version = model_of(request)
        served = self._models.find(model)
        parsed = parse_generate(model, version, _plain(request, body), served.inputs)
        answer = await self._models.infer(parsed, peer, seen)
        return answer, Response(render_generated(answer, served.json_outputs), media_type="application/json")


def model_of(request: Request) -> tuple[str, str]:
    """The model and version of a request's path; "" where it has none."""
    return request.path_params.get("model", ""), request.path_params.get("version", "")


def raw(status: int, headers: Headers, body: bytes) -> Response:
    """A response of bytes."""
    return Response(body, status, headers={name.decode(): value.decode() for name, value in headers})


def _plain(request: Request, body: bytes) -> bytes:
    return decompress(body, request.headers.get("content-encoding", "").lower())
