"""Settings of the role `stream`."""

from pydantic import Field

from services.inference.settings import InferenceSettings


class StreamSettings(InferenceSettings):
    """Settings of the role `stream`."""

    group: str = Field("", description="consumer group; default <pipeline>.stream")
    round_records: int = Field(
        10_000, ge=1, description="records of one transaction at most; traffic decides how many below that"
    )
    buffer_records: int = Field(20_000, ge=1, description="records fetched and not yet taken, at most")
    buffer_mib: int = Field(64, ge=1, description="MiB of their values, at most")
    transaction_timeout_ms: int = Field(
        10_000,
        ge=1000,
        description="after a crash readers wait for the open transaction until a successor aborts it, or so long",
    )
    bad_ratio: float = Field(
        0.5, gt=0, le=1, description="the role ends when this share of recent records cannot be predicted ..."
    )
    bad_least: int = Field(200, ge=1, description="... and they are more than this many")
