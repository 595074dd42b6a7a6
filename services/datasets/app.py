"""The role `datasets`, composed."""

import asyncio
import contextlib

from headrace import datasets
from headrace.datasets.opening import open_access
from headrace.jobs.app import JobsApp, jobs_of
from headrace.jobs.records import Folder
from headrace.runtime.lifecycle import Context, Stop
from services.datasets.metrics import METRICS
from services.datasets.records import ImportRecord
from services.datasets.rest import create_app
from services.datasets.settings import DatasetsSettings
from services.datasets.submission import Submission
from services.datasets.upkeep import Upkeep
from services.datasets.uploads import Uploads


class DatasetsApp:
    """Answers requests, runs imports, and keeps the sets in order."""

    def __init__(self, jobs: JobsApp, upkeep: Upkeep) -> None:
        self._jobs, self._upkeep = jobs, upkeep

    async def run(self, stop: Stop) -> None:
        """Work until `stop` is set; imports that run then go on at the next start."""
        upkeep = asyncio.create_task(self._upkeep.run())
        try:
            await self._jobs.run(stop)
        finally:
            upkeep.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await upkeep


def build(context: Context[DatasetsSettings]) -> DatasetsApp:
    """Make the role from its settings.

    Raises:
        ConfigError: `storage_url` names no store, or the port is taken.
    """
    settings = context.settings
    root = (settings.jobs_dir or settings.storage_folder / "imports").resolve()
    folder = Folder(root / "jobs", ImportRecord)
    uploads = Uploads(root / "uploads", most_bytes=settings.max_upload_bytes, most=settings.max_uploads)
    jobs = jobs_of(settings, folder, datasets.__name__, METRICS)
    submission = Submission(settings, folder, uploads)
    access = open_access(settings)
    app = create_app(settings, access, jobs, submission)
    return DatasetsApp(JobsApp(context, jobs, app), Upkeep(settings, access, jobs, submission))
