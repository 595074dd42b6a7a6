"""What a query's own process is asked, and what it says where that fails."""

from typing import Literal

import msgspec

Form = Literal["json", "csv", "parquet", "tables"]


class QueryRequest(msgspec.Struct, frozen=True):
    """A query over the archive in a folder, and its limits. The form `tables` asks for the tables instead."""

    root: str
    pipeline: str
    sql: str = ""
    form: str = "json"
    rows: int = 10_000
    seconds: float = 30.0
    memory_mb: int = 512


class Failure(msgspec.Struct, frozen=True):
    """Why there is no answer. `kind` is query, timeout, memory or other."""

    kind: str
    message: str
    hint: str = ""
