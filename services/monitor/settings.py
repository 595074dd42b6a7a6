"""Settings of the role `monitor`."""

from pydantic import Field

from headrace.runtime.settings import ServiceSettings


class MonitorSettings(ServiceSettings):
    """Settings of the role `monitor`."""

    rest_port: int = Field(0, ge=0, le=65535, description="port of GET /v1/snapshot; 0 takes a free one")
    history_s: float = Field(
        3600.0, ge=0, description="seconds before its start from which the monitor reads the pipeline's topics"
    )
    max_waiting: int = Field(
        200_000, ge=1, description="most keys that wait at the same time for their event, prediction or label"
    )
    batch: int = Field(5000, ge=1, description="most records of one read")
    tick_s: float = Field(0.5, gt=0, description="seconds between snapshots")
    lag_s: float = Field(2.0, gt=0, description="seconds between two measurements of the other roles' lag")
    join_group: str = Field(
        "headrace.join.{pipeline}", description="the join's consumer group, whose lag is measured; empty: it is not"
    )
    startup_timeout_s: float = Field(120.0, gt=0, description="seconds to wait for the broker and the topics at start")
