"""REST of the role `batch`: bodies and queries in, `Jobs`, answers out. Every error is {"error": "..."}."""

import asyncio
import hashlib
import os
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.responses import FileResponse
from fastapi_offline import FastAPIOffline

from headrace import __version__
from headrace.batch.planning import rejected_file
from headrace.jobs.errors import ConflictError, TooLargeError, UnknownError
from headrace.jobs.manager import Jobs
from headrace.jobs.records import State
from headrace.jobs.rest import JobId, add_answers, add_routes, small_body
from headrace.runtime.rest import Measured, errors, json_answer
from services.batch import metrics
from services.batch.records import BatchRecord
from services.batch.submission import Inputs, Options, Submission, input_name, inputs_in

JOBS = "/v1/batch/jobs"
_MEDIA = {"parquet": "application/vnd.apache.parquet", "csv": "text/csv", "jsonl": "application/x-ndjson"}


def create_app(jobs: Jobs[BatchRecord], submission: Submission) -> FastAPI:
    """The ASGI app, with its documentation at /docs."""
    app = FastAPIOffline(title="Headrace batch", version=__version__, description="Files of events to predictions.")
    app.add_middleware(Measured, observe=metrics.METRICS.request)
    add_answers(app)
    _add_submit(app, jobs, submission)
    add_routes(app, jobs, JOBS)
    _add_files(app, jobs)
    return app


def _add_submit(app: FastAPI, jobs: Jobs[BatchRecord], submission: Submission) -> None:
    @app.post(
        JOBS,
        status_code=202,
        summary="Submit a job: the file of events as the body, or JSON that names files or a data set",
        openapi_extra=_BODY,
        responses=errors(400, 403, 409, 413, 422, 429),
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
                made = await _by_name(submission, record, inputs_in(await small_body(request)))
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


async def _by_name(submission: Submission, record: BatchRecord, given: Inputs) -> BatchRecord:
    """The record with files of the service's folder, or with a data set's, which takes a while to verify."""
    if given.dataset:
        return await asyncio.to_thread(submission.by_dataset, record, given.dataset)
    return submission.by_path(record, given.inputs)


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip() == "application/json"


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


def _add_files(app: FastAPI, jobs: Jobs[BatchRecord]) -> None:
    @app.get(
        f"{JOBS}/{{job}}/output", summary="The predictions", response_class=FileResponse,
        responses=errors(404, 409),
    )  # fmt: skip
    async def output(job: JobId) -> Response:
        path = _output(jobs, job, rejected=False)
        return FileResponse(path, media_type=_MEDIA[jobs.get(job).output], filename=f"{job}.{jobs.get(job).output}")

    @app.get(
        f"{JOBS}/{{job}}/rejected", summary="The rows without a prediction, and why: a JSON object a line",
        response_class=FileResponse, responses=errors(404, 409),
    )  # fmt: skip
    async def rejected(job: JobId) -> Response:
        path = _output(jobs, job, rejected=True)
        return FileResponse(path, media_type=_MEDIA["jsonl"], filename=f"{job}.rejected.jsonl")


_FILE = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            **dict.fromkeys(_MEDIA.values(), _FILE),
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "inputs": {"type": "array", "items": {"type": "string"}},
                        "dataset": {"type": "string", "description": "a data set instead: name@version"},
                    },
                }
            },
        },
    }
}


def _output(jobs: Jobs[BatchRecord], job: str, *, rejected: bool) -> FilePath:
    """The file of predictions, or of rejected rows.

    Raises:
        UnknownError: there is no such job, or it has rejected none.
        ConflictError: the job is not done.
    """
    record = jobs.get(job)
    if record.state is not State.DONE:
        raise ConflictError(f"the job is {record.state}: it has no output")
    path = record.job.output_path
    path = rejected_file(path) if rejected else path
    if not path.exists():
        raise UnknownError("no row was rejected" if rejected else "the output is gone")
    return path
