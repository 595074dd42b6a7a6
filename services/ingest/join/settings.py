"""Settings of the role `join`."""

from pathlib import Path

from pydantic import Field

from headrace.runtime.settings import ServiceSettings


class JoinSettings(ServiceSettings):
    """Settings of the role `join`. What decides about pairs is in pipeline.yaml, section `join`."""

    batch: int = Field(10_000, ge=1, description="records in one transaction at most")
    poll_s: float = Field(0.03, gt=0, description="seconds to wait for a full batch")
    max_state_bytes: int = Field(
        1 << 30,
        ge=1 << 20,
        description="memory for records that wait and keys that are remembered; beyond, the oldest go to disk",
    )
    spill_bytes: int = Field(
        16 << 30, ge=0, description="disk for what exceeds that memory; beyond, the oldest are given up"
    )
    spill_dir: Path | None = Field(None, description="folder for it; by default `spill` in the run directory")
    session_timeout_s: float = Field(
        6.0, gt=0, description="seconds after which a silent member's partitions go to another"
    )
    transaction_timeout_ms: int = Field(
        10_000, ge=1000, description="after which a crashed member's transaction is aborted"
    )
