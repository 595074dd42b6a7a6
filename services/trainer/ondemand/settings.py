"""Settings of the role `train`."""

from pathlib import Path

from pydantic import Field

from headrace.jobs.settings import JobSettings
from headrace.training.job import MOST_EXAMPLES


class TrainSettings(JobSettings):
    """Settings of the role `train`."""

    jobs_dir: Path | None = Field(None, description="folder of the jobs and results; default <storage_dir>/training")
    input_dir: Path | None = Field(None, description="folder from which jobs may read files; without it, from none")
    track: str = Field("", description="log jobs as MLflow runs: local, or the URL of a server; default nowhere")
    max_examples: int = Field(MOST_EXAMPLES, ge=1, description="of one job at most, since they are held in memory")
