"""Settings of the role `labelling`."""

from pydantic import Field

from headrace.runtime.settings import ServiceSettings


class LabellingSettings(ServiceSettings):
    """Settings of the role `labelling`. What is to be labelled stands in pipeline.yaml, section `labelling`."""

    rest_port: int = Field(0, ge=0, le=65535, description="port of REST; 0 takes a free one")
    history_s: float = Field(
        3600.0, ge=0, description="seconds before its very first start from which it reads, at most the join's window"
    )
    max_state_bytes: int = Field(
        128 << 20,
        ge=1 << 20,
        description="items in memory; beyond this none is added, and the oldest finished are left",
    )
    max_event_bytes: int = Field(
        256 << 10, ge=1024, le=512 << 10, description="an event larger than this joins no queue"
    )
    max_request_bytes: int = Field(64 << 20, ge=1024, description="size of an imported file at most")
    max_followers: int = Field(256, ge=1, description="readers of the queues' counts at the same time")
    startup_timeout_s: float = Field(120.0, gt=0, description="seconds to wait for the broker and the topics at start")
