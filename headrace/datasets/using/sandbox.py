"""A DuckDB that sees the files of sets and nothing else, in bounded memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

MEMORY = "1GB"
THREADS = 2
_MOST_SPILLED = "50GB"


def connection(files: Mapping[str, list[Path]], spill: Path | None, memory: str = MEMORY) -> Any:
    """A DuckDB connection that has these files as views and can reach nothing else.

    Without `spill`, what does not fit into memory fails.
    """
    import duckdb

    made = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": memory, "threads": THREADS, "autoinstall_known_extensions": False,
            "autoload_known_extensions": False, "python_enable_replacements": False,
            "temp_directory": str(spill) if spill else "", "max_temp_directory_size": _MOST_SPILLED if spill else "0B",
        },
    )  # fmt: skip
    allowed = ", ".join(quoted(path) for paths in files.values() for path in paths)
    made.execute(f"SET allowed_paths = [{allowed}]")
    made.execute("SET enable_external_access = false")
    made.execute("SET lock_configuration = true")
    for name, paths in files.items():
        made.read_parquet([str(path) for path in paths]).create_view(name)
    return made


def quoted(path: Path) -> str:
    """A path as text of SQL."""
    text = str(path).replace("'", "''")
    return f"'{text}'"


def identifier(name: str) -> str:
    """A column's name in SQL."""
    text = name.replace('"', '""')
    return f'"{text}"'
