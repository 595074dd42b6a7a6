"""Numbers and times as people read them, and where tables of them go."""

import sys

from rich.console import Console

WIDE = 160
"""Columns of a table that goes to a file or another program."""


def table_console() -> Console:
    """Standard output; where it is no terminal, wide enough that nothing of a table is cut."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)


def number(value: float | None) -> str:
    """Three or four digits that matter."""
    if value is None:
        return "-"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"


def metric(value: float | None) -> str:
    """Three decimals: most metrics are between 0 and 1."""
    return "-" if value is None else f"{value:.3f}" if abs(value) < 10 else number(value)


def duration(seconds: float) -> str:
    """Milliseconds below a second, else seconds."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def counted(number: int, what: str) -> str:
    """A number of things: `1 event`, `2,000 events`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
