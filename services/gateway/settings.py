"""Settings of the role `gateway`."""

from typing import Annotated

from pydantic import Field

from headrace.runtime.settings import Sensitive, ServiceSettings


class GatewaySettings(ServiceSettings):
    """Settings of the role `gateway`."""

    rest_port: int = Field(0, ge=0, le=65535, description="port of REST; 0 takes a free one")
    inference_urls: Annotated[str, Sensitive()] = Field(
        "",
        description="REST addresses of the roles `rpc`, comma-separated; default: those in the run folder, read anew",
    )
    ingest_urls: Annotated[str, Sensitive()] = Field(
        "", description="REST addresses of the roles `ingest`; default: those in the run folder"
    )
    monitor_urls: Annotated[str, Sensitive()] = Field(
        "", description="REST addresses of the roles `monitor`; default: those in the run folder"
    )
    role_urls: Annotated[dict[str, str], Sensitive()] = Field(
        default_factory=dict,
        description='REST addresses of other roles, as JSON: {"datasets": "http://..."}; default: the run folder\'s',
    )
    predict_timeout_s: float = Field(5.0, gt=0, description="most seconds for a prediction, retries included")
    ingest_timeout_s: float = Field(15.0, gt=0, description="most seconds for appending records")
    max_request_bytes: int = Field(8 << 20, ge=1024, description="most bytes of one request")
    max_passed_bytes: int = Field(
        8 << 30, ge=1024, description="most bytes of one request that is passed on to another role, as uploads are"
    )
    max_pages: int = Field(256, ge=1, description="most pages that are open at the same time")
    subscriber_events: int = Field(
        5000, ge=1, description="most predictions that wait for a slow reader; with one more the reader is dropped"
    )
    max_subscribers: int = Field(256, ge=1, description="most readers of the predictions at the same time")
    max_replays: int = Field(8, ge=1, description="most readers that read past predictions at the same time")
