"""Settings that every service of jobs has."""

from pydantic import Field

from headrace.runtime.settings import ServiceSettings


class JobSettings(ServiceSettings):
    """Settings of a role that runs jobs."""

    rest_port: int = Field(0, ge=0, le=65535, description="port of REST; 0 takes a free one")
    max_running: int = Field(1, ge=1, description="jobs that run at once; others wait")
    max_waiting: int = Field(100, ge=0, description="jobs that wait at most; more are refused")
    keep_jobs: int = Field(100, ge=1, description="finished jobs that are kept, with their files; the oldest go first")
