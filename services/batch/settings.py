"""Settings of the role `batch`."""

from pathlib import Path

from pydantic import Field

from headrace.jobs.settings import JobSettings


class BatchSettings(JobSettings):
    """Settings of the role `batch`."""

    jobs_dir: Path | None = Field(None, description="folder of the jobs and their files; default <storage_dir>/batch")
    input_dir: Path | None = Field(
        None, description="folder from which jobs may read files by path; without it they can only upload"
    )
    weights: Path | None = Field(
        None, description="a safetensors file of weights, to use for every job instead of published versions"
    )
    job_workers: int = Field(0, ge=0, description="processes of a job; 0 takes the cores")
    max_upload_bytes: int = Field(1 << 30, ge=1, description="size of an uploaded file at most")
    max_input_bytes: int = Field(64 << 30, ge=1, description="size of a job's files by path at most, all together")
