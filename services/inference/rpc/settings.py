"""Settings of the role `rpc`."""

from pathlib import Path

from pydantic import Field

from services.inference.settings import InferenceSettings


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
