"""Queries over the metrics store: names, series, and a series' points at a step."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from headrace.archive.series.coverage import Footers, pieces_for
from headrace.archive.series.files import Key, Run, SeriesFile
from headrace.archive.series.points import COLUMN, Aggregation, points_of
from headrace.archive.series.samples import labels_in
from headrace.runtime.errors import ConfigError

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "": 1000}
_STEPS = (10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000, 3_600_000, 10_800_000, 21_600_000, 86_400_000)
POINTS = 500
"""Points of a series, at most, where no step is named."""
_TRIES = 5


@dataclass(frozen=True)
class Selection:
    """Which series: their metrics, and where given their model, version, slice, and some of their labels."""

    metrics: Sequence[str]
    model: str | None = None
    version: int | None = None
    slice: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def holds(self, key: Key) -> bool:
        """Whether a series is selected, its metric apart."""
        for wanted, value in zip((self.model, self.version, self.slice), key[1:4], strict=True):
            if wanted is not None and wanted != value:
                return False
        known = labels_in(key[4]) if self.labels else {}
        return all(known.get(name) == value for name, value in self.labels.items())


@dataclass(frozen=True)
class Window:
    """From when to when, and at which step, in ms; times since the epoch, the end not included."""

    start: int
    end: int
    step: int


@dataclass(frozen=True)
class Series:
    """One series. `points` are (start of the step in ms since the epoch, value), oldest first."""

    metric: str
    model: str
    version: int
    slice: str
    labels: dict[str, str]
    points: list[tuple[int, float]] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        """As JSON has it, without the points."""
        return {
            "metric": self.metric, "model": self.model, "version": self.version, "slice": self.slice,
            "labels": self.labels,
        }  # fmt: skip


class MetricsReader:
    """Answers queries over the metrics of the archive in a folder. It may be used by several threads."""

    def __init__(self, root: Path) -> None:
        self._root, self._footers = root, Footers()

    def names(self, window: Window) -> dict[str, int]:
        """The metrics that have samples in the window, and how many series each has."""
        counts: dict[str, int] = {}
        for key in sorted(self._again(lambda: self._runs(None, window, (), lambda _: True))):
            counts[key[0]] = counts.get(key[0], 0) + 1
        return counts

    def series(self, selection: Selection, window: Window) -> list[Series]:
        """The series that have samples in the window, without points."""
        found = self._again(lambda: self._runs(selection.metrics, window, (), selection.holds))
        return [_series(key) for key in sorted(found)]

    def query(self, selection: Selection, window: Window, aggregation: Aggregation = "avg") -> list[Series]:
        """The points of the series that are selected, at the window's step. A step without samples has no point.

        The first step is whole, also where the window begins within it: its samples may be folded into it already.
        """
        window = replace(window, start=window.start - window.start % window.step)
        columns = sorted({"value", "count", COLUMN.get(aggregation, "value")})
        found = self._again(lambda: self._runs(selection.metrics, window, columns, selection.holds))
        return [_series(key, points_of(found[key], window.step, aggregation)) for key in sorted(found)]

    def _runs(
        self, metrics: Sequence[str] | None, window: Window, columns: Sequence[str], chosen: Callable[[Key], bool]
    ) -> dict[Key, list[Run]]:
        """By series, its rows in the window."""
        found: dict[Key, list[Run]] = {}
        for piece in pieces_for(self._root, window.start, window.end, window.step, self._footers):
            with SeriesFile(piece.path, self._footers.of(piece.path)) as file:
                for run in file.runs(metrics, (piece.start, piece.end), columns, chosen):
                    found.setdefault(run.key, []).append(run)
        return found

    def _again(self, ask: Any) -> Any:
        """What `ask` returns; once more where a file went meanwhile, which merging and removing do."""
        for _ in range(_TRIES):
            try:
                return ask()
            except FileNotFoundError:
                continue
        return ask()


def window_of(start: str | None, end: str | None, step: str | None, now_s: float | None = None) -> Window:
    """A window from what a caller names: times as `time_ms` takes them, default the last hour; a step such as 1m.

    Raises:
        ConfigError: one of them is wrong.
    """
    now = int((time.time() if now_s is None else now_s) * 1000)
    to = time_ms("to", end, now) if end else now
    begin = time_ms("from", start, now) if start else to - 3_600_000
    if begin >= to:
        raise ConfigError(f"from {start!r} is not before to {end or 'now'!r}")
    width = duration_ms("step", step) if step else _step_for(to - begin)
    if (to - begin) // width > 1_000_000:
        raise ConfigError(f"step {step!r}: more than a million points", hint="a longer step, or a shorter time")
    return Window(begin, to, width)


def time_ms(what: str, text: str, now_ms: int) -> int:
    """A time in ms since the epoch: ISO 8601 (UTC where it names no zone), seconds since the epoch, or -90d.

    Raises:
        ConfigError: it is none of these.
    """
    if text.startswith("-"):
        return now_ms - duration_ms(what, text[1:])
    try:
        return int(float(text) * 1000)
    except (ValueError, OverflowError):
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        hint = "2026-11-27T12:00:00Z, seconds since the epoch, or -1h for an hour ago"
        raise ConfigError(f"{what}: {text!r} is no time", hint=hint) from error
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def duration_ms(what: str, text: str) -> int:
    """A duration in ms: 10s, 1m, 1h, 7d, or a number of seconds.

    Raises:
        ConfigError: it is none.
    """
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d|)", text)
    width = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    if width < 1:
        raise ConfigError(f"{what}: {text!r} is no duration", hint="10s, 1m, 1h, 7d")
    return width


def aggregation_named(text: str) -> Aggregation:
    """The aggregation of that name.

    Raises:
        ConfigError: there is none.
    """
    known = get_args(Aggregation)
    if text not in known:
        raise ConfigError(f"aggregation: {text!r} is none of {', '.join(known)}")
    return text  # type: ignore[return-value]


def labels_of_text(text: str) -> dict[str, str]:
    """Labels from `name=value,name=value`.

    Raises:
        ConfigError: it is not of that form.
    """
    pairs = [one.partition("=") for one in text.split(",") if one]
    if any(not name or not equals for name, equals, _ in pairs):
        raise ConfigError(f"labels: {text!r} is not name=value,name=value")
    return {name: value for name, _, value in pairs}


def _step_for(length_ms: int) -> int:
    return next((step for step in _STEPS if length_ms / step <= POINTS), _STEPS[-1])


def _series(key: Key, points: list[tuple[int, float]] | None = None) -> Series:
    metric, model, version, part, labels = key
    return Series(metric, model, version, part, labels_in(labels), points or [])
