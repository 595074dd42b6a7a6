"""Settings of the role `datasets`."""

from pathlib import Path

from pydantic import Field

from headrace.jobs.settings import JobSettings


class DatasetsSettings(JobSettings):
    """Settings of the role `datasets`."""

    jobs_dir: Path | None = Field(None, description="folder of imports and uploads; default <storage_dir>/imports")
    input_dir: Path | None = Field(
        None, description="folder from which imports may read files by path; without it they can only upload"
    )
    watch_dir: Path | None = Field(None, description="folder whose files are imported as they arrive")
    watch_every_s: float = Field(2.0, gt=0, description="seconds between two looks at the watched folder")
    max_upload_bytes: int = Field(8 << 30, ge=1, description="size of an uploaded file at most")
    max_uploads: int = Field(100, ge=1, description="unfinished uploads at most; more are refused")
    upload_keep_s: float = Field(86_400.0, gt=0, description="an upload that nobody goes on with is removed after this")
    keep_versions: int = Field(0, ge=0, description="newest versions of each set that are kept; 0 keeps all")
    query_memory: str = Field("1GB", description="memory of a query over sets at most, as DuckDB writes it")
    max_export_bytes: int = Field(8 << 30, ge=1, description="size of a set that is exported by REST at most")
