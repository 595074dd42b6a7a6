"""Making versions: imports and splits, as jobs."""

import hashlib
from typing import Annotated, Any

from fastapi import FastAPI, Header, Request, Response
from fastapi.responses import FileResponse

from headrace.datasets.opening import Access
from headrace.jobs.errors import UnknownError
from headrace.jobs.manager import Jobs
from headrace.jobs.rest import JobId, small_body
from headrace.runtime.rest import errors, json_answer
from services.datasets.records import ImportRecord
from services.datasets.rest.sets import SETS, VERSION, Name, Version, set_name
from services.datasets.submission import Submission

IMPORTS = "/v1/imports"
Key = Annotated[str, Header(alias="Idempotency-Key", max_length=200, description="the same key again: the same import")]


def add(app: FastAPI, access: Access, jobs: Jobs[ImportRecord], submission: Submission) -> None:
    """Add the routes."""

    @app.post(
        f"{SETS}/{{name}}/versions", status_code=202, openapi_extra=_IMPORT,
        responses=errors(400, 403, 404, 409, 413, 422, 429),
        summary="Make the next version: of an upload, a file of the service's folder, a topic, a query",
    )  # fmt: skip
    async def make(request: Request, name: Name, key: Key = "") -> Response:
        """Answered once the import is durable. A new one is 202, one that this key submitted before is 200."""
        body = await small_body(request)
        if (known := _known(jobs, key, body)) is not None:
            return _answer(known, 200)
        record, upload = submission.importing(name, body, key)
        taken = _submit(jobs, record, submission, upload)
        return _answer(taken, 202 if taken.id == record.id else 200)

    @app.post(
        f"{VERSION}/split", status_code=202, openapi_extra=_SPLIT, responses=errors(400, 404, 409, 413, 422, 429, 503),
        summary="Cut a version into parts, each a set of its own, between which nothing leaks",
    )  # fmt: skip
    async def split(request: Request, name: Name, version: Version, key: Key = "") -> Response:
        """As an import; it makes NAME-PART for each part."""
        body = await small_body(request)
        exact = access.catalogue.manifest(set_name(name, version)).set
        record = submission.splitting(exact, name, body, key)
        taken = _submit(jobs, record, submission, "")
        return _answer(taken, 202 if taken.id == record.id else 200)

    @app.get(
        f"{IMPORTS}/{{job}}/rejected", summary="All rows that do not fit, a JSON object a line",
        response_class=FileResponse, responses=errors(404),
    )  # fmt: skip
    async def rejected(job: JobId) -> Response:
        path = jobs.get(job).job.rejected
        if not path.exists():
            raise UnknownError("no row was left out")
        return FileResponse(path, media_type="application/x-ndjson", filename=f"{job}.rejected.jsonl")


def _known(jobs: Jobs[ImportRecord], key: str, body: bytes) -> ImportRecord | None:
    """The import of the same key and request: its upload is gone by now."""
    return jobs.known(key, hashlib.sha256(body).hexdigest()) if key else None


def _submit(jobs: Jobs[ImportRecord], record: ImportRecord, submission: Submission, upload: str) -> ImportRecord:
    """Take an import; its upload's file is in its folder before, and the upload goes after it."""
    if not jobs.has(record.key):
        jobs.check_room()
    folder = jobs.folder.begin(record.id)
    try:
        if upload:
            record = submission.with_upload(record, upload)
        taken = jobs.submit(record)
    except BaseException:
        if not (folder / "record.json").exists():
            jobs.folder.remove(record.id)
        raise
    if upload:
        submission.uploads.remove(upload)
    return taken


def _answer(record: ImportRecord, status: int) -> Response:
    return json_answer(record.shown(), status, {"Location": f"{IMPORTS}/{record.id}"})


def _text(description: str) -> dict[str, str]:
    return {"type": "string", "description": description}


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "additionalProperties": False, "properties": properties, "required": required}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_METADATA = {"type": "object", "additionalProperties": {"type": "string"}, "description": "licence, description, ..."}
_FROM = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "upload": _text("id of an upload that is whole"),
        "file": _text("file of the service's folder"),
        "topic": _text("a topic: a range of it"),
        "start": _text("of the topic: earliest, a time, or partition:offset,..."),
        "end": _text("not included; also latest"),
        "query": _text("one SELECT over sets"),
        "sets": {"type": "object", "additionalProperties": {"type": "string"}, "description": "table → name@version"},
    },
}
_FORMAT = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "delimiter": {"type": ["string", "null"]},
        "encoding": {"type": ["string", "null"]},
        "sheet": _text("of a workbook"),
        "header_row": {"type": "integer"},
        "header_rows": {"type": "integer"},
        "decimal": {"type": "string", "enum": ["", ".", ","]},
        "dates": {"type": "string", "enum": ["", "day-first", "month-first"]},
        "zone": _text("of times that name none"),
        "types": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
_IMPORT = _object(
    {
        "from": _FROM,
        "as": {"type": "string", "enum": ["", "events", "labels", "examples"], "description": "check each row"},
        "key": _text("the column that names an event"),
        "time": _text("the column of each row's time"),
        "label_time": _text("the column that says when its label became known"),
        "metadata": _METADATA,
        "format": _FORMAT,
        "max_bad_rows": {"type": "integer", "description": "rows that do not fit and are left out at most"},
    },
    ["from"],
)
_SPLIT = _object(
    {
        "by": {"type": "string", "enum": ["time", "key"]},
        "shares": {"type": "object", "additionalProperties": {"type": "number"}, "description": "part → share"},
        "name": _text("names begin with this; default the set's"),
        "column": _text("the time or the key; default the set's own"),
        "label_time": _text("default the set's own"),
        "group": _text("with time: values of this column are in one part only"),
        "seed": {"type": "integer"},
        "metadata": _METADATA,
    },
    ["by", "shares"],
)
