"""Settings that the roles `coordinator` and `agent` share."""

from pydantic import Field

from headrace.runtime.settings import ServiceSettings


class CheckpointSettings(ServiceSettings):
    """Settings of both roles. Both run at a lower priority, so that busy cores are left to the workers that serve."""

    nice: int = Field(
        10, ge=0, le=19, description="niceness on busy cores: 0 as every process, 10 a tenth of a worker's share"
    )
