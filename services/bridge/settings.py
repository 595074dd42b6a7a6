"""What the bridge to Triton can be told."""

from pathlib import Path

from pydantic import Field

from headrace.runtime.settings import ServiceSettings


class TritonBridgeSettings(ServiceSettings):
    """Settings of the role `triton-bridge`."""

    repository: Path | None = Field(None, description="Triton's model repository: a folder that both can reach")
    triton: str = Field("127.0.0.1:8001", description="host:port of Triton's gRPC endpoint")
    triton_timeout_s: float = Field(60.0, gt=0, description="seconds that loading a version may take in Triton")
    keep_versions: int = Field(2, ge=1, description="versions kept in the repository, the served one included")
    max_batch: int = Field(
        1024, ge=1, description="rows of one request to Triton at most, and of requests batched together"
    )
    rows: int = Field(64, ge=1, description="sample rows whose answers are compared")
    tolerance: float = Field(1e-5, ge=0, description="greatest difference of answers, relative to the largest one")
    check_s: float = Field(5.0, gt=0, description="seconds between looks at whether Triton still serves the version")
    retry_s: float = Field(
        5.0, gt=0, description="seconds before a version that Triton did not take is tried again; doubles"
    )
