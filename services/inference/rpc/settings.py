"""Settings of the role `rpc`."""

from pathlib import Path

from pydantic import Field

from services.inference.settings import InferenceSettings

SWITCH_S = 0.0005
"""For how long a thread that computes keeps another from running Python: the event loop beside an execution."""


class RpcSettings(InferenceSettings):
    """Settings of the role `rpc`."""

    rest_port: int = Field(0, ge=0, le=65535, description="port of REST, 8000 by convention; 0 takes a free one")
    grpc_port: int = Field(0, ge=0, le=65535, description="port of gRPC, 8001 by convention; 0 takes a free one")
    workers: int = Field(
        1,
        ge=0,
        description="processes that share both ports and the weights' memory; 0 for one a usable core. "
        "headrace up and demo start 1",
    )
    max_batch_size: int = Field(4096, ge=1, description="events in one request at most")
    batch_max_events: int = Field(
        256, ge=1, description="events of several requests that are executed together at most"
    )
    batch_max_delay_us: int = Field(
        0, ge=0, description="microseconds for which a batch that is not full waits for more requests; 0 for none"
    )
    queue_max_events: int = Field(
        262_144, ge=1, description="events that may wait to be executed; requests beyond are refused"
    )
    priority_levels: int = Field(3, ge=1, le=100, description="priorities that a request may have; 1 is first")
    default_priority: int = Field(2, ge=1, le=100, description="priority of requests that name none")
    loop_max_us: int = Field(
        1000, ge=0, description="microseconds that an execution may keep the event loop; longer ones run in a thread"
    )
    predict_threads: int = Field(1, ge=1, description="executions at a time where they run in threads")
    realtime: bool = Field(
        default=False,
        description="run before all normal processes of the machine (SCHED_RR); needs CAP_SYS_NICE or RLIMIT_RTPRIO",
    )
    shared_memory_regions: int = Field(
        64, ge=0, description="regions of system shared memory that clients may register; 0 switches shared memory off"
    )
    access_log_sample: float | None = Field(
        None, ge=0, le=1, description="share of requests to log, a line each, and those that fail; 0 for these alone"
    )
    access_log_errors_per_s: float = Field(
        10.0, ge=0, description="requests that fail beside the share, logged in a second at most"
    )
    response_cache_bytes: int = Field(
        0, ge=0, description="bytes of answers kept for requests with the same inputs and version; 0 keeps none"
    )
    weights: Path | None = Field(
        None, description="a safetensors file of the network's state, to serve as it is instead of following the fleet"
    )
