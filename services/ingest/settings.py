"""Settings of the role `ingest`."""

from pydantic import Field

from headrace.runtime.settings import ServiceSettings


class IngestSettings(ServiceSettings):
    """Settings of the role `ingest`."""

    rest_port: int = Field(0, ge=0, le=65535, description="port of REST; 0 takes a free one")
    grpc_port: int = Field(0, ge=0, le=65535, description="port of gRPC; 0 takes a free one")
    delivery_timeout_s: float = Field(10.0, gt=0, description="seconds in which the broker must acknowledge a record")
    max_request_bytes: int = Field(8 << 20, ge=1024, description="size of one request at most")
    max_record_bytes: int = Field(
        900_000, ge=64, description="size of one record at most; brokers refuse more than 1 MB"
    )
    max_in_flight: int = Field(
        100_000, ge=1, description="records waiting for acknowledgement at most; more are refused"
    )
    linger_ms: int = Field(2, ge=0, description="ms that the producer waits to fill a batch")
