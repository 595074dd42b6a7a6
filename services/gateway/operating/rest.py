"""REST of what an operator does. The work is done in threads, a few at once; every error is {"error": "..."}."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple, Protocol, TypeVar

import msgspec
from fastapi import FastAPI, Path, Query, Request, Response

from headrace.runtime.errors import ConfigError, HeadraceError
from headrace.runtime.rest import errors
from headrace.runtime.settings import ServiceSettings
from services.gateway.errors import BadRequestError, BusyError, ConflictError, UnavailableError
from services.gateway.operating import letters, operations, reading
from services.gateway.operating.letters import Chosen
from services.gateway.operating.operations import Asked, Deployed

PIPELINE = "/v1/pipelines/{pipeline}"
_AT_ONCE = 4
_WAITING = 32
_MOST_RECORDS = 200
_MOST_LETTERS = 1000

T = TypeVar("T")
B = TypeVar("B")

Name = Annotated[str, Path(description="the pipeline's name")]
ModelName = Annotated[str, Path(description="the model's name in the fleet, or as pipeline.yaml has it")]
VersionNumber = Annotated[int, Path(ge=1, lt=1 << 62, description="of the weights")]
Topic = Annotated[str, Path(description="in full, or its last part", max_length=249)]
Place = Annotated[str, Path(description="partition:offset of the dead letter", max_length=40)]


class Pipeline(Protocol):
    """What the routes need of the gateway."""

    pipeline: str

    def check(self, pipeline: str) -> None:
        """Raise `UnknownError` unless it is this gateway's pipeline."""
        ...

    def model(self, name: str) -> str:
        """The model's name in the fleet; raises `UnknownError` if there is none."""
        ...

    async def body(self, request: Request) -> bytes:
        """The whole body; raises `TooLargeError`."""
        ...


class Operating:
    """Runs an operator's work in threads, so that predictions go on meanwhile.

    Args:
        settings: where Kafka is.
        gateway: the pipeline and its models.
    """

    def __init__(self, settings: ServiceSettings, gateway: Pipeline) -> None:
        self.settings, self.gateway = settings, gateway
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._there = 0

    async def do(self, work: Callable[[], T], *, refused: type[Exception] = BadRequestError) -> T:
        """What `work` returns. A ConfigError of it becomes `refused`.

        Raises:
            BusyError: too much is asked for at once.
            UnavailableError: Kafka or the coordinator does not answer.
        """
        if self._there >= _WAITING:
            raise BusyError("too many such requests at once: try again in a moment")
        self._there += 1
        try:
            async with self._turns:
                return await asyncio.to_thread(work)
        except ConfigError as error:
            raise refused(str(error)) from error
        except HeadraceError as error:
            raise UnavailableError(str(error)) from error
        finally:
            self._there -= 1

    async def asked(self, request: Request, kind: type[B]) -> B:
        """A body of JSON; an empty one is all defaults.

        Raises:
            BadRequestError: it does not fit. So is one of another type: a page of somewhere else can send those only.
        """
        body = await self.gateway.body(request)
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != "application/json":
            raise BadRequestError("expected a body of type application/json")
        try:
            return msgspec.json.decode(body or b"{}", type=kind)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise BadRequestError(f"the body: {error}") from error


def add_operating(app: FastAPI, operating: Operating) -> None:
    """Add the routes."""
    for one in (
        Offered("rollback", operations.roll_back, Asked, "Serve an earlier version everywhere, and stay there"),
        Offered("pin", operations.pin, Asked, "Stay at the version that is served; newer ones wait"),
        Offered("resume", operations.resume, Asked, "Let the newest versions be rolled out again"),
        Offered("deploy", operations.deploy, Deployed, "Serve a version: on a share of the workers first, or on all"),
    ):
        _add_operation(app, operating, one)
    _add_lineage(app, operating)
    _add_records(app, operating)
    _add_letters(app, operating)


class Offered(NamedTuple):
    """An operation: its last part of the path, what does it, and its body."""

    name: str
    operate: Callable[[ServiceSettings, str, Any], dict[str, Any]]
    body: type[Asked]
    summary: str


def _add_operation(app: FastAPI, operating: Operating, one: Offered) -> None:
    schema = _ASKED | _SHARE if one.body is Deployed else _ASKED

    @app.post(
        f"{PIPELINE}/models/{{model}}/{one.name}", name=one.name, summary=one.summary, openapi_extra=_body(schema),
        responses=errors(400, 404, 409, 413, 429, 503),
    )  # fmt: skip
    async def operation(pipeline: Name, model: ModelName, request: Request) -> Response:
        """Answered when every worker has confirmed, or after 15 seconds with `done` false; 409 if it is refused."""
        operating.gateway.check(pipeline)
        known, asked = operating.gateway.model(model), await operating.asked(request, one.body)
        work = lambda: one.operate(operating.settings, known, asked)  # noqa: E731
        return _answer(await operating.do(work, refused=ConflictError))


def _add_lineage(app: FastAPI, operating: Operating) -> None:
    @app.get(
        f"{PIPELINE}/models/{{model}}/versions/{{version}}/lineage", responses=errors(404, 429, 503),
        summary="What a version learned from, what made it, and who served it",
    )  # fmt: skip
    async def lineage(pipeline: Name, model: ModelName, version: VersionNumber) -> Response:
        operating.gateway.check(pipeline)
        known = operating.gateway.model(model)
        return _answer(await operating.do(lambda: reading.lineage(operating.settings, known, version)))


def _add_records(app: FastAPI, operating: Operating) -> None:
    @app.get(
        f"{PIPELINE}/topics/{{topic}}/records", summary="The newest records of a topic, decoded",
        responses=errors(400, 404, 429, 503),
    )  # fmt: skip
    async def records(
        pipeline: Name, topic: Topic, last: Annotated[int, Query(ge=1, le=_MOST_RECORDS)] = 20
    ) -> Response:
        operating.gateway.check(pipeline)
        work = lambda: reading.newest_records(operating.settings, pipeline, topic, last)  # noqa: E731
        return _answer(await operating.do(work))


def _add_letters(app: FastAPI, operating: Operating) -> None:
    @app.get(f"{PIPELINE}/dead-letters", summary="The newest dead letters", responses=errors(400, 404, 429, 503))
    async def list_letters(  # noqa: PLR0917 - FastAPI passes them by name
        pipeline: Name,
        topic: Annotated[str | None, Query(description="the topic that they came from", max_length=249)] = None,
        phase: Annotated[str | None, Query(max_length=40)] = None,
        reason: Annotated[str, Query(description="a part of the reason", max_length=400)] = "",
        since: Annotated[str | None, Query(description="15m, 2h, 3d, or a time", max_length=40)] = None,
        limit: Annotated[int, Query(ge=1, le=_MOST_LETTERS)] = 100,
    ) -> Response:
        operating.gateway.check(pipeline)
        chosen = Chosen(None, phase, reason, since)
        work = lambda: letters.listed(operating.settings, pipeline, topic, chosen, limit)  # noqa: E731
        return _answer(await operating.do(work))

    @app.get(
        f"{PIPELINE}/dead-letters/{{topic}}/{{place}}", summary="One dead letter, with its record as it was",
        responses=errors(400, 404, 429, 503),
    )  # fmt: skip
    async def one_letter(pipeline: Name, topic: Topic, place: Place) -> Response:
        operating.gateway.check(pipeline)
        work = lambda: letters.shown(operating.settings, pipeline, topic, place)  # noqa: E731
        return _answer(await operating.do(work))

    @app.post(
        f"{PIPELINE}/dead-letters/{{topic}}/replay", summary="Put dead letters back on their topic, each once",
        openapi_extra=_body(_CHOSEN), responses=errors(400, 404, 413, 429, 503),
    )  # fmt: skip
    async def replay(pipeline: Name, topic: Topic, request: Request) -> Response:
        """With `dry_run` nothing is done: the answer says what would be."""
        operating.gateway.check(pipeline)
        chosen = await operating.asked(request, Chosen)
        work = lambda: letters.put_back(operating.settings, pipeline, topic, chosen)  # noqa: E731
        return _answer(await operating.do(work))


def _answer(content: Mapping[str, Any]) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")


def _body(properties: Mapping[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_TEXT = {"type": "string"}
_ASKED = {
    "version": {"type": "integer", "minimum": 0, "description": "0: the one before the active one"},
    "reason": {"type": "string", "description": "noted with the directive, for whoever asks later"},
}
_SHARE = {
    "canary_share": {"type": "number", "minimum": 0, "exclusiveMaximum": 1, "description": "of the workers; 0: all"}
}
_CHOSEN = {
    "places": {"type": "array", "items": _TEXT, "description": "partition:offset of each letter; without it, all"},
    "phase": _TEXT,
    "reason": {"type": "string", "description": "a part of the reason"},
    "since": {"type": "string", "description": "15m, 2h, 3d, or a time"},
    "dry_run": {"type": "boolean"},
}
