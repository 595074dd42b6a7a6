"""What the monitor can be told."""

from pydantic import Field

from headrace.runtime.settings import ServiceSettings


class MonitorSettings(ServiceSettings):
    """Settings of the role `monitor`."""

    rest_port: int = Field(0, ge=0, le=65535, description="port of GET /v1/snapshot; 0 takes a free one")
    history_s: float = Field(3600.0, ge=0, description="at start, read the pipeline's topics from so many seconds ago")
    max_waiting: int = Field(
        200_000, ge=1, description="keys that may wait for their event, prediction or label at once"
    )
    batch: int = Field(5000, ge=1, description="records read at once at most")
    tick_s: float = Field(0.5, gt=0, description="seconds between snapshots")
    lag_s: float = Field(2.0, gt=0, description="seconds between looks at how far the other roles are")
    join_group: str = Field(
        "headrace.join.{pipeline}", description="the join's consumer group, to tell its lag; empty: do not"
    )
    startup_timeout_s: float = Field(120.0, gt=0, description="seconds to wait for the broker and the topics at start")
