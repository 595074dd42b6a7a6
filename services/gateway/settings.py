"""What the gateway can be told."""

from pydantic import Field

from headrace.runtime.settings import ServiceSettings


class GatewaySettings(ServiceSettings):
    """Settings of the role `gateway`."""

    rest_port: int = Field(0, ge=0, le=65535, description="port of REST; 0 takes a free one")
    inference_urls: str = Field(
        "",
        description="REST addresses of roles `rpc`, by commas; default: those of the run folder, as they change",
    )
    ingest_urls: str = Field("", description="REST addresses of roles `ingest`; default: those of the run folder")
    monitor_urls: str = Field("", description="REST addresses of roles `monitor`; default: those of the run folder")
    predict_timeout_s: float = Field(5.0, gt=0, description="seconds that a prediction may take, retries included")
    ingest_timeout_s: float = Field(15.0, gt=0, description="seconds that appending may take")
    max_request_bytes: int = Field(8 << 20, ge=1024, description="size of one request at most")
    subscriber_events: int = Field(
        5000, ge=1, description="predictions that wait for a slow reader at most, before it is dropped"
    )
    max_subscribers: int = Field(256, ge=1, description="readers of the predictions at once")
    max_replays: int = Field(8, ge=1, description="readers that catch up with the past at once")
