"""What a part of the benchmark has to say, and how parts come together in one JSON file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table


@dataclass
class Part:
    """The figures, the ratios and the tables of one part. Ratios compare two things measured in the same run."""

    figures: dict[str, Any] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)


def table(title: str, *columns: str) -> Table:
    """A table whose first column is a name, and whose others are numbers."""
    made = Table(title=title)
    for column in columns:
        made.add_column(column, justify="right" if column else "left")
    return made


def write(path: Path, parts: Mapping[str, Part], *, keep: bool) -> None:
    """Write `{"figures": ..., "ratios": ...}`.

    Args:
        path: where to.
        parts: what was measured.
        keep: leave in place what an earlier run wrote of other parts: a long form may be run in pieces.
    """
    whole: dict[str, dict[str, Any]] = {"figures": {}, "ratios": {}}
    if keep and path.exists():
        whole = json.loads(path.read_text())
    for name, part in parts.items():
        failed = part.figures.pop("failed_requests", 0)
        whole["figures"].setdefault("failed_requests_of", {})[name] = failed
        whole["figures"].update(part.figures)
        whole["ratios"].update({ratio: round(value, 3) for ratio, value in part.ratios.items()})
    whole["figures"]["failed_requests"] = sum(whole["figures"]["failed_requests_of"].values())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole, indent=2))
