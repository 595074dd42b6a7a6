"""What the roles of inference can be told."""

from pathlib import Path

from pydantic import Field

from headrace.runtime.settings import ServiceSettings


class InferenceSettings(ServiceSettings):
    """Settings of both roles."""

    torch_threads: int = Field(
        1, ge=1, description="threads of one forward pass; processes, not threads, use the other cores"
    )


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
        0.5, gt=0, le=1, description="stop when this share of recent records cannot be predicted ..."
    )
    bad_least: int = Field(200, ge=1, description="... and more than so many could not")


class RpcSettings(InferenceSettings):
    """Settings of the role `rpc`."""

    rest_port: int = Field(0, ge=0, le=65535, description="port of REST, 8000 by convention; 0 takes a free one")
    grpc_port: int = Field(0, ge=0, le=65535, description="port of gRPC, 8001 by convention; 0 takes a free one")
    max_batch_size: int = Field(4096, ge=1, description="events in one request at most")
    predict_threads: int = Field(1, ge=1, description="requests that execute at once")
    realtime: bool = Field(
        default=False,
        description="run before all normal processes of the machine (SCHED_RR); needs CAP_SYS_NICE or RLIMIT_RTPRIO",
    )
    weights: Path | None = Field(
        None, description="a safetensors file of the network's state, to serve as it is instead of following the fleet"
    )
