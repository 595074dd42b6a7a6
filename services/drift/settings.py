"""Settings of the role `drift`."""

from pydantic import Field

from headrace.runtime.settings import ServiceSettings


class DriftSettings(ServiceSettings):
    """Settings of the role `drift`. What counts as drift is in pipeline.yaml."""

    rest_port: int = Field(0, ge=0, le=65535, description="port of the REST API; 0 takes a free one")
    history_s: float = Field(
        3600.0, ge=0, description="seconds before its first start from which the role reads the pipeline's topics"
    )
    batch: int = Field(10_000, ge=1, description="most records of one read")
    tick_s: float = Field(0.5, gt=0, description="seconds between snapshots for REST and /metrics")
    state_s: float = Field(30.0, gt=0, description="seconds between two records of the role's state")
    lag_s: float = Field(2.0, gt=0, description="seconds between two measurements of what is still to be read")
    max_waiting: int = Field(100_000, ge=1, description="most predictions that wait for their labels, and labels")
    startup_timeout_s: float = Field(120.0, gt=0, description="seconds to wait for the broker and the topics at start")
