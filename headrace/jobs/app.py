"""A role that takes jobs by REST."""

import asyncio
from typing import Any

from fastapi import FastAPI

from headrace.jobs.manager import Jobs, Observer
from headrace.jobs.process import JobProcess, environment
from headrace.jobs.records import Folder, R
from headrace.jobs.settings import JobSettings
from headrace.runtime.lifecycle import Context, Stop
from headrace.runtime.web import WebServer


def jobs_of(settings: JobSettings, folder: Folder[R], module: str, observer: Observer) -> Jobs[R]:
    """The jobs in a folder, each run as `python -m module`, as many at once and kept as the settings say."""
    variables = environment(settings)
    return Jobs(
        folder,
        lambda job_file: JobProcess(module, job_file, variables),
        observer,
        max_running=settings.max_running,
        max_waiting=settings.max_waiting,
        keep=settings.keep_jobs,
    )


class JobsApp:
    """Serves `app`, and runs the jobs that it submits, of one kind or of several."""

    def __init__(self, context: Context[Any], jobs: Jobs[Any], app: FastAPI, *further: Jobs[Any]) -> None:
        self._context, self._jobs = context, (jobs, *further)
        settings: JobSettings = context.settings
        self._rest = WebServer(app, settings.host, settings.rest_port, edge=context.edge)
        context.ready.declare("rest")

    async def run(self, stop: Stop) -> None:
        """Answer requests and run jobs until `stop` is set; then stop them: the next start goes on with them."""
        serving = asyncio.create_task(self._rest.serve())
        for jobs in self._jobs:
            jobs.open()
        self._context.publish_endpoint("rest", self._rest.url)
        self._context.ready.set("rest", True, self._rest.url)  # noqa: FBT003 - the value is the point
        self._context.log.info("listening", transport="rest", address=self._rest.url)
        stopped = asyncio.create_task(stop.waited())
        try:
            await asyncio.wait([stopped, serving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            await asyncio.gather(*(jobs.close() for jobs in self._jobs))
            self._rest.stop()
            await serving
