"""Settings of the role `rules`."""

from pydantic import Field

from headrace.runtime.settings import ServiceSettings


class RulesSettings(ServiceSettings):
    """Settings of the role `rules`."""

    rest_port: int = Field(0, ge=0, le=65535, description="port of REST; 0 takes a free one")
    train_url: str = Field("", description="REST of the role train; default the one of this run")
    monitor_url: str = Field("", description="REST of the role monitor; default the one of this run")
    callback_url: str = Field(
        "", description="where others reach this role's REST, for call-backs; default its own address"
    )
    poll_s: float = Field(2.0, gt=0, description="seconds between looks at the error, the labels and the clock")
    keep_runs: int = Field(200, ge=1, description="runs kept once they are over; the oldest go first")
