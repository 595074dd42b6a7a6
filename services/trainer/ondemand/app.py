"""The role `train`, composed."""

from headrace.jobs.app import JobsApp, jobs_of
from headrace.jobs.records import Folder
from headrace.model.spec_file import load_spec
from headrace.runtime.errors import ConfigError
from headrace.runtime.lifecycle import Context
from services.trainer.ondemand.metrics import METRICS
from services.trainer.ondemand.records import TrainingRecord
from services.trainer.ondemand.rest import create_app
from services.trainer.ondemand.settings import TrainSettings
from services.trainer.ondemand.submission import Submission


def build(context: Context[TrainSettings]) -> JobsApp:
    """Make the role from its settings.

    Raises:
        ConfigError: no pipeline was named, its pipeline.yaml cannot be read, or the port is taken.
    """
    settings = context.settings
    if settings.pipeline is None:
        raise ConfigError("train: no pipeline", hint="--pipeline FOLDER")
    load_spec(settings.pipeline)
    folder = Folder((settings.jobs_dir or settings.storage_folder / "training").resolve(), TrainingRecord)
    jobs = jobs_of(settings, folder, "services.trainer.offline", METRICS)
    return JobsApp(context, jobs, create_app(jobs, Submission(settings, settings.pipeline, folder)))
