"""What is in the tables of an archive."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrace.archive.folder import listings
from headrace.archive.queries.running import describe
from headrace.archive.segments.manifest import read_manifest


def describe_tables(root: Path, pipeline: str) -> list[dict[str, Any]]:
    """Each table: its columns, rows, bytes, segments, and from when to when its records are; a view its columns alone.

    Raises:
        ConfigError: there is no archive in that folder.
    """
    return [
        {"name": name, **_size(root, name), "columns": columns} for name, columns in describe(root, pipeline).items()
    ]


def _size(root: Path, table: str) -> dict[str, Any]:
    segments = [one for listing in listings(root, table) for one in listing.current]
    found = list[tuple[Any, int]]()
    for one in segments:
        try:
            found.append((read_manifest(one.path), one.path.stat().st_size))
        except FileNotFoundError:
            continue  # merged or removed meanwhile
    if not found:
        return {}
    return {
        "rows": sum(manifest.rows for manifest, _ in found),
        "bytes": sum(size for _, size in found),
        "segments": len(found),
        "from": _iso(min(manifest.from_ms for manifest, _ in found)),
        "to": _iso(max(manifest.to_ms for manifest, _ in found)),
    }


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
