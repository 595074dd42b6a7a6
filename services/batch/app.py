"""The role `batch`, composed."""

from headrace.jobs.app import JobsApp, jobs_of
from headrace.jobs.records import Folder
from headrace.model.spec_file import load_spec
from headrace.runtime.errors import ConfigError
from headrace.runtime.lifecycle import Context
from services.batch.metrics import METRICS
from services.batch.records import BatchRecord
from services.batch.rest import create_app
from services.batch.settings import BatchSettings
from services.batch.submission import Submission


def build(context: Context[BatchSettings]) -> JobsApp:
    """Make the role from its settings.

    Raises:
        ConfigError: no pipeline was named, its pipeline.yaml cannot be read, or the port is taken.
    """
    settings = context.settings
    if settings.pipeline is None:
        raise ConfigError("batch: no pipeline", hint="--pipeline FOLDER")
    load_spec(settings.pipeline)
    folder = Folder((settings.jobs_dir or settings.storage_folder / "batch").resolve(), BatchRecord)
    jobs = jobs_of(settings, folder, "headrace.batch", METRICS)
    return JobsApp(context, jobs, create_app(jobs, Submission(settings, settings.pipeline, folder)))
