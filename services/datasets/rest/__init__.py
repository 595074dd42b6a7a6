"""REST of the role `datasets`: every error is {"error": "..."}."""

from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline

from headrace import __version__
from headrace.datasets.errors import DamagedSet, SetInUse, UnknownSet
from headrace.datasets.opening import Access
from headrace.jobs.manager import Jobs
from headrace.jobs.rest import add_answers, add_routes
from headrace.runtime.errors import DependencyError
from headrace.runtime.rest import Measured, json_answer
from services.datasets.metrics import METRICS
from services.datasets.records import ImportRecord
from services.datasets.rest import imports, sets, uploads
from services.datasets.settings import DatasetsSettings
from services.datasets.submission import Submission

_STATUS = {UnknownSet: 404, SetInUse: 409, DamagedSet: 500, DependencyError: 503}


def create_app(settings: DatasetsSettings, access: Access, jobs: Jobs[ImportRecord], submission: Submission) -> FastAPI:
    """The ASGI app, with its documentation at /docs."""
    app = FastAPIOffline(title="Headrace data sets", version=__version__, description="Versioned sets of data.")
    app.add_middleware(Measured, observe=METRICS.request)
    add_answers(app)
    for kind in _STATUS:
        app.add_exception_handler(kind, _failed)
    sets.add(app, settings, access)
    imports.add(app, access, jobs, submission)
    add_routes(app, jobs, imports.IMPORTS, plural="imports")
    uploads.add(app, submission.uploads)
    return app


async def _failed(_: Request, error: Exception) -> Response:
    status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
    return json_answer({"error": str(error)}, status)
