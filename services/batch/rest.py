"""REST of the role `batch`: bodies and queries in, `Jobs`, answers out. Every error is {"error": "..."}."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

import orjson
from fastapi import FastAPI, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from fastapi_offline import FastAPIOffline
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.exceptions import HTTPException

from headrace import __version__
from headrace.runtime.errors import ConfigError
from headrace.runtime.rest import Measured, http_error, invalid, json_answer, unforeseen
from services.batch import metrics
from services.batch.errors import BatchError, TooLargeError, UnknownError
from services.batch.records import Record, State
from services.batch.service import Jobs
from services.batch.submission import Options, Submission, input_name, paths_in

JOBS = "/v1/batch/jobs"
_MOST_JSON = 1 << 20
_PING_S = 15
_MEDIA = {"parquet": "application/vnd.apache.parquet", "csv": "text/csv", "jsonl": "application/x-ndjson"}

JobId = Annotated[str, Path(description="the job's id")]


def create_app(jobs: Jobs, submission: Submission) -> FastAPI:
    """The ASGI app, with its documentation at /docs."""
    app = FastAPIOffline(title="Headrace batch", version=__version__, description="Files of events to predictions.")
    app.add_middleware(Measured, observe=_observe)
    for kind, answer in (
        (BatchError, _refused),
        (ConfigError, _misconfigured),
        (HTTPException, http_error),
        (RequestValidationError, invalid(400)),
        (Exception, unforeseen),
    ):
        app.add_exception_handler(kind, answer)
    _add_submit(app, jobs, submission)
    _add_ask(app, jobs)
    _add_change(app, jobs)
    _add_files(app, jobs)
    return app


def _add_submit(app: FastAPI, jobs: Jobs, submission: Submission) -> None:
    @app.post(
        JOBS,
        status_code=202,
        summary="Submit a job: the file of events as the body, or JSON that names files of the service's folder",
        openapi_extra=_BODY,
        responses=dict.fromkeys((400, 403, 413, 422, 429), _ERROR),
    )
    async def submit(  # noqa: PLR0917 - FastAPI passes them by name
        request: Request,
        key: Annotated[
            str, Header(alias="Idempotency-Key", max_length=200, description="the same key again: the same job")
        ] = "",
        input: Annotated[  # noqa: A002 - the query's name
            str, Query(description="what the body is: parquet, csv, tsv, jsonl; csv.gz and so on", max_length=20)
        ] = "",
        output: Annotated[
            Literal["parquet", "csv", "jsonl"], Query(description="format of the predictions")
        ] = "parquet",
        version: Annotated[int | None, Query(ge=1, le=2**62, description="of the weights; default the newest")] = None,
        columns: Annotated[
            str | None, Query(description="columns to carry, a,b,c; default all", max_length=10_000)
        ] = None,
        delimiter: Annotated[str | None, Query(max_length=10)] = None,
        encoding: Annotated[str | None, Query(max_length=40)] = None,
        max_bad_rows: Annotated[int | None, Query(ge=0, le=2**62, description="fail if more are rejected")] = None,
    ) -> Response:
        """Answered once the job is durable. A new one is 202, one that this key submitted before is 200."""
        if not jobs.has(key):
            jobs.check_room()
        options = Options(output, version, columns, delimiter, encoding, max_bad_rows)
        record = submission.new(options, key)
        folder = jobs.folder.begin(record.id)
        try:
            if _is_json(request) and not input:
                made = submission.by_path(record, paths_in(await _small_body(request)))
            else:
                name = input_name(input, request.headers.get("content-type", ""))
                digest = await _upload(request, folder / name, submission.max_upload_bytes)
                made = submission.by_upload(record, folder / name, digest)
            taken = jobs.submit(made)
        except BaseException:
            if not (folder / "record.json").exists():
                jobs.folder.remove(record.id)
            raise
        again = taken.id != record.id
        return json_answer(taken.shown(), 200 if again else 202, {"Location": f"{JOBS}/{taken.id}"})


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip() == "application/json"


async def _small_body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > _MOST_JSON:
            raise TooLargeError(f"the body is larger than {_MOST_JSON} bytes")
    return b"".join(parts)


async def _upload(request: Request, path: FilePath, most: int) -> str:
    """Write the body into a file; its digest.

    Raises:
        TooLargeError: it is too large; the rest is not read.
    """
    digest, size = hashlib.blake2b(digest_size=16), 0
    with path.open("wb") as file:
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise TooLargeError(f"the body is larger than {most} bytes")
            digest.update(part)
            file.write(part)
        file.flush()
        await asyncio.to_thread(os.fsync, file.fileno())
    metrics.UPLOADED.inc(size)
    return digest.hexdigest()


def _add_ask(app: FastAPI, jobs: Jobs) -> None:
    @app.get(JOBS, summary="The newest jobs")
    async def list_jobs(
        state: Annotated[State | None, Query(description="only those in this state")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        return json_answer({"jobs": [record.shown() for record in jobs.list(state, limit)]})

    @app.get(f"{JOBS}/{{job}}", summary="One job: its state and how far it is", responses={404: _ERROR})
    async def status(job: JobId) -> Response:
        return json_answer(_record(jobs, job).shown())

    @app.get(
        f"{JOBS}/{{job}}/events",
        summary="Follow a job as server-sent events, until it is over",
        response_class=EventSourceResponse,
        responses={404: _ERROR},
    )
    async def events(job: JobId) -> Response:
        """Each event is named `job`, its data is what the job's own address answers."""
        _record(jobs, job)

        async def frames() -> AsyncIterator[ServerSentEvent]:
            async for shown in jobs.follow(job):
                yield ServerSentEvent(orjson.dumps(shown).decode(), event="job")

        return EventSourceResponse(frames(), ping=_PING_S, headers={"X-Accel-Buffering": "no"})


def _add_change(app: FastAPI, jobs: Jobs) -> None:
    @app.post(f"{JOBS}/{{job}}/cancel", summary="Cancel a job", responses={404: _ERROR, 409: _ERROR})
    async def cancel(job: JobId) -> Response:
        """Its process is stopped; the state is `cancelled` once it has ended. What it has done is thrown away."""
        _record(jobs, job)
        return json_answer(jobs.cancel(job).shown())

    @app.delete(
        f"{JOBS}/{{job}}", status_code=204, summary="Remove a job that is over, with its files",
        responses={404: _ERROR, 409: _ERROR},
    )  # fmt: skip
    async def delete(job: JobId) -> Response:
        _record(jobs, job)
        jobs.delete(job)
        return Response(status_code=204)


def _add_files(app: FastAPI, jobs: Jobs) -> None:
    @app.get(
        f"{JOBS}/{{job}}/output", summary="The predictions", response_class=FileResponse,
        responses={404: _ERROR, 409: _ERROR},
    )  # fmt: skip
    async def output(job: JobId) -> Response:
        record = _record(jobs, job)
        path = jobs.output(job, rejected=False)
        return FileResponse(path, media_type=_MEDIA[record.output], filename=f"{job}.{record.output}")

    @app.get(
        f"{JOBS}/{{job}}/rejected", summary="The rows without a prediction, and why: a JSON object a line",
        response_class=FileResponse, responses={404: _ERROR, 409: _ERROR},
    )  # fmt: skip
    async def rejected(job: JobId) -> Response:
        _record(jobs, job)
        path = jobs.output(job, rejected=True)
        return FileResponse(path, media_type=_MEDIA["jsonl"], filename=f"{job}.rejected.jsonl")


def _record(jobs: Jobs, job: str) -> Record:
    if not jobs.folder.is_id(job):
        raise UnknownError("there is no such job")
    return jobs.get(job)


_ERROR: dict[str, Any] = {
    "description": "What was wrong.",
    "content": {"application/json": {"schema": {"type": "object", "properties": {"error": {"type": "string"}}}}},
}
_FILE = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            **dict.fromkeys(_MEDIA.values(), _FILE),
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {"inputs": {"type": "array", "items": {"type": "string"}}},
                }
            },
        },
    }
}


def _observe(route: str, status: int, _: float) -> None:
    metrics.REQUESTS.labels(route, str(status)).inc()


async def _refused(_: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, BatchError) else 500
    return json_answer({"error": str(error)}, status, {"Retry-After": "10"} if status == 429 else None)


async def _misconfigured(_: Request, error: Exception) -> Response:
    return json_answer({"error": str(error)}, 400)
