"""Uploads in parts: begin, send parts where the upload is, ask where it is."""

from typing import Annotated, Any

from fastapi import FastAPI, Header, Path, Request, Response

from headrace.jobs.rest import small_body
from headrace.runtime.rest import errors, json_answer
from services.datasets.uploads import OffsetError, Upload, Uploads

UPLOADS = "/v1/uploads"
UploadId = Annotated[str, Path(description="the upload's id", max_length=64)]


def add(app: FastAPI, uploads: Uploads) -> None:
    """Add the routes."""

    @app.post(
        UPLOADS, status_code=201, summary="Begin an upload", openapi_extra=_BEGIN, responses=errors(400, 413, 429)
    )
    async def begin(request: Request) -> Response:
        upload = uploads.begin(await small_body(request))
        return _answer(upload, 0, 201)

    @app.get(f"{UPLOADS}/{{upload}}", summary="How far an upload is", responses=errors(404))
    async def status(upload: UploadId) -> Response:
        return _answer(*uploads.get(upload))

    @app.head(f"{UPLOADS}/{{upload}}", summary="How far an upload is, in Upload-Offset", responses=errors(404))
    async def offset(upload: UploadId) -> Response:
        found, at = uploads.get(upload)
        return Response(
            headers={"Upload-Offset": str(at), "Upload-Length": str(found.size), "Cache-Control": "no-store"}
        )

    @app.patch(
        f"{UPLOADS}/{{upload}}", summary="Send a part, which begins at Upload-Offset", openapi_extra=_PART,
        responses=errors(404, 409, 413, 422),
    )  # fmt: skip
    async def part(
        request: Request, upload: UploadId, at: Annotated[int, Header(alias="Upload-Offset", ge=0, le=2**62)]
    ) -> Response:
        """What came of a part that was broken off is kept: ask where the upload is, and go on there."""
        try:
            now = await uploads.add(upload, at, request.stream())
        except OffsetError as error:
            return json_answer({"error": str(error), "offset": error.offset}, error.status)
        return _answer(uploads.get(upload)[0], now)

    @app.delete(f"{UPLOADS}/{{upload}}", status_code=204, summary="Give an upload up", responses=errors(404))
    async def remove(upload: UploadId) -> Response:
        uploads.remove(upload)
        return Response(status_code=204)


def _answer(upload: Upload, offset: int, status: int = 200) -> Response:
    body: dict[str, Any] = {
        "id": upload.id, "filename": upload.filename, "offset": offset, "size": upload.size,
        "complete": upload.verified,
    }  # fmt: skip
    headers = {"Upload-Offset": str(offset), "Location": f"{UPLOADS}/{upload.id}"}
    return json_answer(body, status, headers)


_BEGIN: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["filename", "size"],
                    "properties": {
                        "filename": {"type": "string", "description": "says what it is: rides.xlsx, rides.csv.gz"},
                        "size": {"type": "integer", "description": "bytes of all of it"},
                        "sha256": {"type": "string", "description": "of all of it, in hexadecimal digits"},
                    },
                }
            }
        },
    }
}
_PART: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/offset+octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
