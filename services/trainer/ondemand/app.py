"""The role `train`, composed."""

from pathlib import Path

from headrace.jobs.app import JobsApp, jobs_of
from headrace.jobs.manager import Jobs
from headrace.jobs.records import Folder
from headrace.model.spec_file import load_spec
from headrace.runtime.errors import ConfigError
from headrace.runtime.lifecycle import Context
from services.trainer.ondemand.further import KINDS, Further, Kind
from services.trainer.ondemand.metrics import FURTHER_METRICS, METRICS
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
    root = (settings.jobs_dir or settings.storage_folder / "training").resolve()
    folder = Folder(root, TrainingRecord)
    jobs = jobs_of(settings, folder, "services.trainer.offline", METRICS)
    submission = Submission(settings, settings.pipeline, folder)
    further = tuple(_further(settings, submission, jobs, root, kind) for kind in KINDS)
    return JobsApp(context, jobs, create_app(jobs, submission, further), *(one.jobs for one in further))


def _further(
    settings: TrainSettings, submission: Submission, trained: Jobs[TrainingRecord], root: Path, kind: Kind
) -> Further:
    """Jobs of another kind, beside the training jobs' folder."""
    folder = Folder(root.with_name(f"{root.name}-{kind.name}"), kind.record)
    jobs = jobs_of(settings, folder, kind.module, FURTHER_METRICS[kind.name])
    return Further(kind, jobs, kind.submission(submission, trained, folder))
