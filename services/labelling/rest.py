"""REST of the role `labelling`: bodies and queries in, `Labelling`, answers out. Every error is {"error": "..."}."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from fastapi_offline import FastAPIOffline
from sse_starlette import EventSourceResponse
from starlette.exceptions import HTTPException

from headrace import __version__
from headrace.runtime.rest import Measured, describe_invalid, errors, http_error, invalid, json_answer, unforeseen
from services.labelling import metrics
from services.labelling.bodies import LabelBody, LeaseBody, ReviewBody, SkipBody, Who, documented, parse
from services.labelling.errors import BadRequestError, LabellingError, TooLargeError
from services.labelling.followers import Followers
from services.labelling.service import Labelling, review_of

BASE = "/v1/labelling"
QUEUE, ITEM = BASE + "/queues/{queue}", BASE + "/items/{item}"

QueueName = Annotated[str, Path(description="the queue's name")]
ItemId = Annotated[str, Path(description="the item's id")]
StateQuery = Annotated[
    Literal["open", "review", "held", "published", "closed"] | None, Query(description="only items in this state")
]
_PING_S = 15
_SMALL = 1 << 20
_TASKS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "array", "items": {"type": "object"}}}},
    }
}


def create_app(labelling: Labelling, followers: Followers, *, max_request_bytes: int) -> FastAPI:
    """The ASGI app, with its documentation at /docs."""
    app = FastAPIOffline(title="Headrace labelling", version=__version__, description="What people are to label.")
    app.add_middleware(Measured, observe=metrics.request)
    for kind, answer in (
        (LabellingError, _refused),
        (HTTPException, http_error),
        (RequestValidationError, invalid(400)),
        (Exception, unforeseen),
    ):
        app.add_exception_handler(kind, answer)
    describe_invalid(app, 400)
    _add_queues(app, labelling, followers)
    _add_taking(app, labelling)
    _add_items(app, labelling)
    _add_deciding(app, labelling)
    _add_files(app, labelling, max_request_bytes)
    return app


def _add_queues(app: FastAPI, labelling: Labelling, followers: Followers) -> None:
    @app.get(f"{BASE}/queues", summary="Every queue and its counts", responses=errors(503))
    async def queues() -> Response:
        return _answer(await labelling.queues())

    @app.get(QUEUE, summary="One queue: its counts, agreement, and what each person did", responses=errors(404, 503))
    async def queue(queue: QueueName) -> Response:
        return _answer(await labelling.queue(queue))

    @app.get(f"{QUEUE}/items", summary="Items of a queue, in the order in which they are offered",
             responses=errors(404, 503))  # fmt: skip
    async def items(
        queue: QueueName, state: StateQuery = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> Response:
        return _answer({"items": await labelling.items(queue, state, limit)})

    @app.get(f"{BASE}/agreement", summary="How far people agree who labelled the same items", responses=errors(503))
    async def agreement() -> Response:
        return _answer(await labelling.agreement())

    @app.get(f"{BASE}/form", summary="The label's form, and the schemas of labels and events")
    async def form() -> Response:
        return _answer(labelling.form.described())

    @app.get(
        f"{BASE}/events", summary="Follow the queues' counts as server-sent events", response_class=EventSourceResponse,
        responses=errors(429),
    )  # fmt: skip
    async def events() -> Response:
        """Events are named `queues`; their data is what /queues answers, at first and after each change."""
        headers = {"X-Accel-Buffering": "no"}
        return EventSourceResponse(followers.follow(), ping=_PING_S, headers=headers)


def _add_taking(app: FastAPI, labelling: Labelling) -> None:
    @app.post(
        f"{QUEUE}/lease", summary="Take the next item of a queue, for a while", openapi_extra=documented(LeaseBody),
        responses=errors(400, 404, 413, 503),
    )  # fmt: skip
    async def lease(queue: QueueName, request: Request) -> Response:
        """While the lease lasts nobody else is given the item. `item` is null where nothing is left."""
        asked = parse(await _body(request), LeaseBody)
        return _answer({"item": await labelling.lease(queue, asked.labeller, asked.review, fresh=asked.fresh)})

    @app.post(
        f"{QUEUE}/undo", summary="Take back the labeller's last decision in a queue", openapi_extra=documented(Who),
        responses=errors(400, 404, 409, 413, 503),
    )  # fmt: skip
    async def undo_last(queue: QueueName, request: Request) -> Response:
        return _answer(await labelling.undo_last(queue, parse(await _body(request), Who).labeller))


def _add_items(app: FastAPI, labelling: Labelling) -> None:
    @app.get(ITEM, summary="One item", responses=errors(404, 503))
    async def item(item: ItemId) -> Response:
        return _answer(await labelling.item(item))

    @app.post(
        f"{ITEM}/renew", summary="Keep an item for longer", openapi_extra=documented(Who),
        responses=errors(400, 404, 409, 413, 503),
    )  # fmt: skip
    async def renew(item: ItemId, request: Request) -> Response:
        return _answer(await labelling.renew(item, parse(await _body(request), Who).labeller))

    @app.post(
        f"{ITEM}/release", summary="Give an item back", openapi_extra=documented(Who),
        responses=errors(400, 404, 409, 413, 503),
    )  # fmt: skip
    async def release(item: ItemId, request: Request) -> Response:
        return _answer(await labelling.release(item, parse(await _body(request), Who).labeller))


def _add_deciding(app: FastAPI, labelling: Labelling) -> None:
    @app.post(
        f"{ITEM}/label", summary="Label an item that the labeller has", openapi_extra=documented(LabelBody),
        responses=errors(400, 404, 409, 413, 503),
    )  # fmt: skip
    async def label(item: ItemId, request: Request) -> Response:
        """A label that does not fit is refused, and `field` names what is wrong. The same label again is no error."""
        given = parse(await _body(request), LabelBody)
        return _answer(await labelling.label(item, given.labeller, given.label))

    @app.post(
        f"{ITEM}/review", summary="Label an item as its second person", openapi_extra=documented(ReviewBody),
        responses=errors(400, 404, 409, 413, 503),
    )  # fmt: skip
    async def review(item: ItemId, request: Request) -> Response:
        given = parse(await _body(request), ReviewBody)
        said = review_of(given.label, accept=given.accept)
        return _answer(await labelling.review(item, given.labeller, said))

    @app.post(
        f"{ITEM}/skip", summary="Pass an item over", openapi_extra=documented(SkipBody),
        responses=errors(400, 404, 409, 413, 503),
    )  # fmt: skip
    async def skip(item: ItemId, request: Request) -> Response:
        given = parse(await _body(request), SkipBody)
        return _answer(await labelling.skip(item, given.labeller, given.reason))

    @app.post(
        f"{ITEM}/undo", summary="Take back the labeller's decision on an item", openapi_extra=documented(Who),
        responses=errors(400, 404, 409, 413, 503),
    )  # fmt: skip
    async def undo(item: ItemId, request: Request) -> Response:
        """`was_published` and `effect` say what that means for the label that may be on the topic already."""
        return _answer(await labelling.undo(item, parse(await _body(request), Who).labeller))


def _add_files(app: FastAPI, labelling: Labelling, max_request_bytes: int) -> None:
    @app.get(f"{BASE}/export", summary="Items and what people said, as Label Studio's JSON", responses=errors(404, 503))
    async def export(
        queue: Annotated[str | None, Query(description="only of this queue")] = None, state: StateQuery = None
    ) -> Response:
        tasks = await labelling.export(queue, state)
        headers = {"Content-Disposition": 'attachment; filename="tasks.json"'}
        return StreamingResponse(tasks, media_type="application/json", headers=headers)

    @app.get(f"{BASE}/config", summary="Label Studio's labelling configuration of these tasks")
    async def config() -> Response:
        return Response(labelling.configuration(), media_type="application/xml")

    @app.post(
        f"{BASE}/import", summary="Take Label Studio's tasks and annotations", openapi_extra=_TASKS,
        responses=errors(400, 404, 413, 503),
    )  # fmt: skip
    async def import_(
        request: Request, queue: Annotated[str, Query(description="the queue that new items join")]
    ) -> Response:
        """A task that cannot be taken is named in `refused`; the others are. Importing a file again changes nothing."""
        return _answer(await labelling.import_(await _body(request, max_request_bytes), queue))


def _answer(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")


async def _body(request: Request, most: int = _SMALL) -> bytes:
    """The body.

    Raises:
        TooLargeError: it is too large; the rest is not read.
    """
    parts, size = list[bytes](), 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > most:
            raise TooLargeError(f"the body is larger than {most} bytes")
    return b"".join(parts)


async def _refused(_: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, LabellingError) else 500
    said: dict[str, Any] = {"error": str(error)}
    if isinstance(error, BadRequestError) and error.field:
        said["field"] = error.field
    return json_answer(said, status, {"Retry-After": "1"} if status in (429, 503) else None)
