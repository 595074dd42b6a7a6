"""The REST routes that every service of jobs has, and how their errors are answered."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Protocol

import orjson
from fastapi import FastAPI, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.exceptions import HTTPException

from headrace.jobs.errors import JobError, TooLargeError
from headrace.jobs.manager import Jobs
from headrace.jobs.records import State
from headrace.runtime.errors import ConfigError
from headrace.runtime.rest import describe_invalid, errors, http_error, invalid, json_answer, unforeseen

_PING_S = 15
_MOST_JSON = 1 << 20

JobId = Annotated[str, Path(description="the job's id")]


def add_answers(app: FastAPI) -> None:
    """Have every error answered as {"error": "..."}."""
    for kind, answer in (
        (JobError, _refused),
        (ConfigError, _misconfigured),
        (HTTPException, http_error),
        (RequestValidationError, invalid(400)),
        (Exception, unforeseen),
    ):
        app.add_exception_handler(kind, answer)
    describe_invalid(app, 400)


async def small_body(request: Request) -> bytes:
    """The body of a request that is JSON.

    Raises:
        TooLargeError: it is larger than a megabyte; the rest is not read.
    """
    parts, size = list[bytes](), 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > _MOST_JSON:
            raise TooLargeError(f"the body is larger than {_MOST_JSON} bytes")
    return b"".join(parts)


class Submission(Protocol):
    """Makes records of requests."""

    def new(self, body: bytes, key: str) -> Any:
        """A record for a request with an Idempotency-Key, "" for none.

        Raises:
            JobError, ConfigError: it cannot be done.
        """
        ...


def add_submit(
    app: FastAPI, path: str, jobs: Jobs[Any], submission: Submission, *, summary: str, body: dict[str, Any]
) -> None:
    """Submitting a job that takes no upload, by a POST of JSON, which `body` describes as a JSON schema."""

    @app.post(
        path,
        status_code=202,
        summary=summary,
        openapi_extra={"requestBody": {"content": {"application/json": {"schema": body}}}},
        responses=errors(400, 403, 404, 409, 413, 422, 429),
    )
    async def submit(
        request: Request,
        key: Annotated[
            str, Header(alias="Idempotency-Key", max_length=200, description="the same key again: the same job")
        ] = "",
    ) -> Response:
        """Answered once the job is durable. A new one is 202, one that this key submitted before is 200."""
        record = submission.new(await small_body(request), key)
        if not jobs.has(key):
            jobs.check_room()
        jobs.folder.begin(record.id)
        try:
            taken = jobs.submit(record)
        except BaseException:
            if not (jobs.folder.of(record.id) / "record.json").exists():
                jobs.folder.remove(record.id)
            raise
        again = taken.id != record.id
        return json_answer(taken.shown(), 200 if again else 202, {"Location": f"{path}/{taken.id}"})


def add_routes(app: FastAPI, jobs: Jobs[Any], path: str, *, plural: str = "jobs") -> None:
    """Listing, following, cancelling and removing jobs below `path`; a list is an object with `plural` in it."""
    _add_ask(app, jobs, path, plural)
    _add_change(app, jobs, path)


def _add_ask(app: FastAPI, jobs: Jobs[Any], path: str, plural: str) -> None:
    @app.get(path, summary="The newest jobs")
    async def list_jobs(
        state: Annotated[State | None, Query(description="only those in this state")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        return json_answer({plural: [record.shown() for record in jobs.list(state, limit)]})

    @app.get(f"{path}/{{job}}", summary="One job: its state and how far it is", responses=errors(404))
    async def status(job: JobId) -> Response:
        return json_answer(jobs.get(job).shown())

    @app.get(
        f"{path}/{{job}}/events",
        summary="Follow a job as server-sent events, until it is over",
        response_class=EventSourceResponse,
        responses=errors(404),
    )
    async def events(job: JobId) -> Response:
        """Each event is named `job`, its data is what the job's own address answers."""
        jobs.get(job)

        async def frames() -> AsyncIterator[ServerSentEvent]:
            async for shown in jobs.follow(job):
                yield ServerSentEvent(orjson.dumps(shown).decode(), event="job")

        return EventSourceResponse(frames(), ping=_PING_S, headers={"X-Accel-Buffering": "no"})


def _add_change(app: FastAPI, jobs: Jobs[Any], path: str) -> None:
    @app.post(f"{path}/{{job}}/cancel", summary="Cancel a job", responses=errors(404, 409))
    async def cancel(job: JobId) -> Response:
        """Its process is stopped; the state is `cancelled` once it has ended. What it has done is thrown away."""
        return json_answer(jobs.cancel(job).shown())

    @app.delete(
        f"{path}/{{job}}", status_code=204, summary="Remove a job that is over, with its files",
        responses=errors(404, 409),
    )  # fmt: skip
    async def delete(job: JobId) -> Response:
        jobs.delete(job)
        return Response(status_code=204)


async def _refused(_: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, JobError) else 500
    return json_answer({"error": str(error)}, status, {"Retry-After": "10"} if status == 429 else None)


async def _misconfigured(_: Request, error: Exception) -> Response:
    return json_answer({"error": str(error)}, 400)
