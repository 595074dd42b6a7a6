"""What every contestant is told, and nothing more: the broker, where to read and write, its group.

Standard library only.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Terms:
    """One contestant's command line."""

    servers: str
    events: str
    predictions: str
    group: str
    folder: Path = Path()
    """Empty at first, for whatever it keeps on disk; shared by the processes of one group."""
    carry_headers: bool = False
    """Set where events carry headers: what belongs to a trace goes on to the prediction."""
    low_latency: bool = False
    """Set where latency is measured: a contestant that must be set for either throughput or latency reads it."""

    def flags(self) -> list[str]:
        """The command line."""
        told = {
            "servers": self.servers, "events": self.events, "predictions": self.predictions, "group": self.group,
            "folder": self.folder,
        }  # fmt: skip
        return [
            *(f"--{name}={value}" for name, value in told.items()),
            *(["--carry-headers"] if self.carry_headers else []),
            *(["--low-latency"] if self.low_latency else []),
        ]


def told(argv: Sequence[str]) -> Terms:
    """The terms that `flags` wrote."""
    parser = argparse.ArgumentParser()
    for name in ("servers", "events", "predictions", "group"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--carry-headers", action="store_true")
    parser.add_argument("--low-latency", action="store_true")
    return Terms(**vars(parser.parse_args(argv)))
