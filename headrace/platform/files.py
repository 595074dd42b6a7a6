"""Small files that other processes read: written whole or not at all."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def write_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace `path` by `content`: a reader sees the old or the new; where `durable`, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace `path` by `value` as JSON. For what only matters while processes live: not durable."""
    write_atomic(path, json.dumps(value, indent=2).encode() + b"\n", durable=False)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in `path`; None where there is no such file or it holds no object (a crash of an older writer)."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return value if isinstance(value, dict) else None


def note(log: Path, text: str) -> None:
    """Append a warning to a process's log, in the form of the lines that the process itself writes."""
    log.parent.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    with log.open("a") as file:
        file.write(f"{now} [warning  ] {text}\n")


def log_tail(path: Path, lines: int = 15, most: int = 16_384) -> str:
    """The last `lines` lines of a log, indented for an error message; of its last `most` bytes only."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - most))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return f"  (no log at {path})"
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:]) or "  (the log is empty)"
