"""Settings of the role `batch`."""

from pathlib import Path

from pydantic import Field

from headrace.runtime.settings import ServiceSettings


class BatchSettings(ServiceSettings):
    """Settings of the role `batch`."""

    rest_port: int = Field(0, ge=0, le=65535, description="port of REST; 0 takes a free one")
    jobs_dir: Path | None = Field(None, description="folder of the jobs and their files; default <storage_dir>/batch")
    input_dir: Path | None = Field(
        None, description="folder from which jobs may read files by path; without it they can only upload"
    )
    weights: Path | None = Field(
        None, description="a safetensors file of weights, to use for every job instead of published versions"
    )
    max_running: int = Field(1, ge=1, description="jobs that run at once; others wait")
    max_waiting: int = Field(100, ge=0, description="jobs that wait at most; more are refused")
    job_workers: int = Field(0, ge=0, description="processes of a job; 0 takes the cores")
    max_upload_bytes: int = Field(1 << 30, ge=1, description="size of an uploaded file at most")
    max_input_bytes: int = Field(64 << 30, ge=1, description="size of a job's files by path at most, all together")
    keep_jobs: int = Field(100, ge=1, description="finished jobs that are kept, with their files; the oldest go first")
