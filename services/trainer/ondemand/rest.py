"""REST of the role `train`: JSON in, `Jobs`, answers out. Every error is {"error": "..."}."""

from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import FastAPI, Header, Request, Response
from fastapi.responses import FileResponse
from fastapi_offline import FastAPIOffline

from headrace import __version__
from headrace.jobs.errors import ConflictError, UnknownError
from headrace.jobs.manager import Jobs
from headrace.jobs.records import State
from headrace.jobs.rest import JobId, add_answers, add_routes, small_body
from headrace.runtime.rest import Measured, errors, json_answer
from services.trainer.ondemand.metrics import METRICS
from services.trainer.ondemand.records import TrainingRecord
from services.trainer.ondemand.submission import Submission

JOBS = "/v1/training/jobs"


def create_app(jobs: Jobs[TrainingRecord], submission: Submission) -> FastAPI:
    """The ASGI app, with its documentation at /docs."""
    app = FastAPIOffline(title="Headrace training", version=__version__, description="Training jobs of a pipeline.")
    app.add_middleware(Measured, observe=METRICS.request)
    add_answers(app)
    _add_submit(app, jobs, submission)
    add_routes(app, jobs, JOBS)
    _add_weights(app, jobs)
    return app


def _add_submit(app: FastAPI, jobs: Jobs[TrainingRecord], submission: Submission) -> None:
    @app.post(
        JOBS,
        status_code=202,
        summary="Train on a range of the examples topic, on data sets, on files, or on the pipeline's source",
        openapi_extra=_BODY,
        responses=errors(400, 403, 409, 413, 422, 429),
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
        return json_answer(taken.shown(), 200 if again else 202, {"Location": f"{JOBS}/{taken.id}"})


def _add_weights(app: FastAPI, jobs: Jobs[TrainingRecord]) -> None:
    @app.get(
        f"{JOBS}/{{job}}/weights", summary="The weights of the best epoch, as safetensors",
        response_class=FileResponse, responses=errors(404, 409),
    )  # fmt: skip
    async def weights(job: JobId) -> Response:
        record = jobs.get(job)
        if record.state is not State.DONE:
            raise ConflictError(f"the job is {record.state}: it has no weights")
        path = FilePath(record.job.folder) / "weights.safetensors"
        if not path.exists():
            raise UnknownError("the weights are gone")
        return FileResponse(path, media_type="application/octet-stream", filename=f"{job}.safetensors")


def _field(kind: str, text: str) -> dict[str, str]:
    return {"type": kind, "description": text}


_BODY: dict[str, Any] = {
    "requestBody": {
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "data": {
                            "type": "string",
                            "enum": ["topic", "files", "source", "datasets"],
                            "default": "topic",
                        },
                        "datasets": {"type": "array", "items": _field("string", "a data set: name@version")},
                        "model": _field("string", "one of the pipeline's further models"),
                        "start": _field("string", "of the topic: earliest, a time, or partition:offset,..."),
                        "end": _field("string", "not included; also latest"),
                        "events": _field("string", "file of the service's folder"),
                        "labels": _field("string", "file of the service's folder"),
                        "time_field": _field("string", "of both files: when each became known"),
                        "delimiter": _field("string", "of CSV files"),
                        "encoding": _field("string", "of the files"),
                        "options": {"type": "array", "items": _field("string", "of the source: name=value")},
                        "limit": _field("integer", "the first so many examples of files or source"),
                        "epochs": _field("integer", "passes over the training part"),
                        "validation": _field("number", "share that chooses the best epoch"),
                        "test": _field("number", "share at the end, for the report alone"),
                        "patience": _field("integer", "end after so many epochs without a better one; 0: never"),
                        "settings": _field("object", "of `training` in pipeline.yaml, what is different"),
                        "hand_over": _field("boolean", "publish the result; the live trainer goes on from it"),
                    },
                }
            }
        }
    }
}
