"""Settings of the role `archive`."""

from pydantic import Field

from headrace.runtime.settings import ServiceSettings


class ArchiveSettings(ServiceSettings):
    """Settings of the role `archive`."""

    rest_port: int = Field(0, ge=0, le=65535, description="port of the REST API; 0 takes a free one")
    flush_s: float = Field(15.0, gt=0, description="seconds after which records are written, and can be queried")
    flush_rows: int = Field(50_000, ge=1, description="most records of a segment as it is first written")
    flush_bytes: int = Field(6 << 20, ge=1, description="most bytes of records in one as it is first written")
    buffer_bytes: int = Field(24 << 20, ge=1, description="most bytes of records that wait in memory to be written")
    batch: int = Field(2_000, ge=1, description="most records of one read")
    tidy_s: float = Field(60.0, gt=0, description="seconds between two rounds of merging, folding and removing")
    segment_bytes: int = Field(128 << 20, ge=1, description="segments are merged until they are about so large")
    merge: int = Field(8, ge=2, description="so many neighbouring segments of about one size are merged into one")
    grace_s: float = Field(
        120.0, ge=0, description="seconds for which what a merged segment has replaced stays, for queries in progress"
    )
    keep_days: float = Field(30.0, gt=0, description="days for which records are kept")
    keep_bytes: int = Field(20 << 30, ge=1, description="most bytes of a table of records; the oldest are removed")
    scrape_s: float = Field(10.0, ge=0, description="seconds between two samples of the metrics; 0 takes none")
    scrape_urls: tuple[str, ...] = Field((), description="further addresses with /metrics, beside the run's processes")
    max_series: int = Field(10_000, ge=1, description="most time series of one round of samples; others are left out")
    keep_samples_days: int = Field(2, ge=1, description="days for which samples are kept as they were taken")
    keep_minutes_days: int = Field(100, ge=1, description="days for which one value a minute is kept of each series")
    keep_hours_days: int = Field(1000, ge=1, description="days for which one value an hour is kept of each series")
    query_rows: int = Field(100_000, ge=1, description="most rows of a query's answer")
    query_timeout_s: float = Field(30.0, gt=0, description="most seconds of a query")
    query_memory_mb: int = Field(512, ge=16, description="most MiB of a query")
    queries: int = Field(2, ge=1, description="queries at the same time; more are answered 429")
    startup_timeout_s: float = Field(120.0, gt=0, description="seconds to wait for the broker and the topics at start")
