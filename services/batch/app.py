"""The role `batch`, composed."""

import asyncio
from pathlib import Path

from headrace.jobs.manager import Jobs
from headrace.jobs.process import JobProcess, environment
from headrace.jobs.records import Folder
from headrace.model.spec_file import load_spec
from headrace.runtime.errors import ConfigError
from headrace.runtime.lifecycle import Context, Stop
from headrace.runtime.web import WebServer
from services.batch.metrics import JobMetrics
from services.batch.records import BatchRecord
from services.batch.rest import create_app
from services.batch.settings import BatchSettings
from services.batch.submission import Submission


class BatchApp:
    """The role `batch`."""

    def __init__(self, context: Context[BatchSettings], pipeline: Path) -> None:
        self._context, self._settings = context, context.settings
        settings = self._settings
        folder = Folder((settings.jobs_dir or settings.storage_folder / "batch").resolve(), BatchRecord)
        variables = environment(settings)
        self._jobs = Jobs(
            folder,
            lambda job_file: JobProcess("headrace.batch", job_file, variables),
            JobMetrics(),
            max_running=settings.max_running,
            max_waiting=settings.max_waiting,
            keep=settings.keep_jobs,
        )
        app = create_app(self._jobs, Submission(settings, pipeline, folder))
        self._rest = WebServer(app, settings.host, settings.rest_port)
        context.ready.declare("rest")

    async def run(self, stop: Stop) -> None:
        """Answer requests and run jobs until `stop` is set; then stop them: the next start goes on with them."""
        serving = asyncio.create_task(self._rest.serve())
        self._jobs.open()
        self._context.publish_endpoint("rest", self._rest.url)
        self._context.ready.set("rest", True, self._rest.url)  # noqa: FBT003 - the value is the point
        self._context.log.info("listening", transport="rest", address=self._rest.url)
        stopped = asyncio.create_task(stop.waited())
        try:
            await asyncio.wait([stopped, serving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            await self._jobs.close()
            self._rest.stop()
            await serving


def build(context: Context[BatchSettings]) -> BatchApp:
    """Make the role from its settings.

    Raises:
        ConfigError: no pipeline was named, its pipeline.yaml cannot be read, or the port is taken.
    """
    if context.settings.pipeline is None:
        raise ConfigError("batch: no pipeline", hint="--pipeline FOLDER")
    load_spec(context.settings.pipeline)
    return BatchApp(context, context.settings.pipeline)
