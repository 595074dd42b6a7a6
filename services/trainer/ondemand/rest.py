"""REST of the role `train`: JSON in, `Jobs`, answers out. Every error is {"error": "..."}."""

from collections.abc import Sequence
from pathlib import Path as FilePath

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse
from fastapi_offline import FastAPIOffline

from headrace import __version__
from headrace.jobs.errors import ConflictError, UnknownError
from headrace.jobs.manager import Jobs
from headrace.jobs.records import State
from headrace.jobs.rest import JobId, add_answers, add_routes, add_submit
from headrace.runtime.rest import Measured, errors
from services.trainer.ondemand.bodies import TRAINING_BODY
from services.trainer.ondemand.further import Further
from services.trainer.ondemand.metrics import METRICS
from services.trainer.ondemand.records import TrainingRecord
from services.trainer.ondemand.submission import Submission

JOBS = "/v1/training/jobs"


def create_app(jobs: Jobs[TrainingRecord], submission: Submission, further: Sequence[Further] = ()) -> FastAPI:
    """The ASGI app, with its documentation at /docs; `further` are the jobs of other kinds."""
    app = FastAPIOffline(title="Headrace training", version=__version__, description="Training jobs of a pipeline.")
    app.add_middleware(Measured, observe=METRICS.request)
    add_answers(app)
    summary = "Train on a range of the examples topic, on data sets, on files, or on the pipeline's source"
    add_submit(app, JOBS, jobs, submission, summary=summary, body=TRAINING_BODY)
    add_routes(app, jobs, JOBS)
    _add_weights(app, jobs)
    for one in further:
        path = f"/v1/training/{one.kind.name}"
        add_submit(app, path, one.jobs, one.submission, summary=one.kind.summary, body=one.kind.body)
        add_routes(app, one.jobs, path)
    return app


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
