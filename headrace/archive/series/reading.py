"""Queries over the metrics store: names, series, and a series' points at a step."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from headrace.archive.series.coverage import Footers, pieces_for
from headrace.archive.series.files import SeriesFile
from headrace.archive.series.folding import fold
from headrace.archive.series.samples import SERIES, folded_columns, labels_in
from headrace.runtime.errors import ConfigError

Aggregation = Literal["avg", "min", "max", "last", "count", "sum"]
_COLUMN = {"avg": "value", "min": "low", "max": "high", "last": "last", "count": "count"}
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
        table = self._distinct(None, window)
        counts: dict[str, int] = {}
        for metric in table["metric"].to_pylist():
            counts[metric] = counts.get(metric, 0) + 1
        return dict(sorted(counts.items()))

    def series(self, selection: Selection, window: Window) -> list[Series]:
        """The series that have samples in the window, without points."""
        found = _named(_chosen(self._distinct(selection.metrics, window), selection))
        return [one for one in found if _has_labels(one, selection)]

    def query(self, selection: Selection, window: Window, aggregation: Aggregation = "avg") -> list[Series]:
        """The points of the series that are selected, at the window's step. A step without samples has no point."""
        table = self._again(lambda: fold(self._read(selection.metrics, window, selection), window.step))
        return [one for one in _with_points(table, aggregation) if _has_labels(one, selection)]

    def _read(self, metrics: Sequence[str], window: Window, selection: Selection) -> list[Any]:
        tables = list[Any]()
        for piece in pieces_for(self._root, window.start, window.end, window.step, self._footers):
            with SeriesFile(piece.path, self._footers.of(piece.path)) as file:
                tables.append(_chosen(file.read(metrics, piece.start, piece.end), selection))
        return [table for table in tables if table.num_rows]

    def _distinct(self, metrics: Sequence[str] | None, window: Window) -> Any:
        return self._again(lambda: self._distinct_once(metrics, window))

    def _distinct_once(self, metrics: Sequence[str] | None, window: Window) -> Any:
        import pyarrow as pa

        found = [folded_columns().empty_table().select(SERIES)]
        for piece in pieces_for(self._root, window.start, window.end, window.step, self._footers):
            with SeriesFile(piece.path, self._footers.of(piece.path)) as file:
                names = list(metrics) if metrics is not None else file.metrics()
                table = file.read(names, piece.start, piece.end, [*SERIES, "taken_at"])
            found.append(table.group_by(list(SERIES)).aggregate([]).select(SERIES))
        return pa.concat_tables(found).group_by(list(SERIES)).aggregate([]).sort_by([(n, "ascending") for n in SERIES])

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


def _chosen(table: Any, selection: Selection) -> Any:
    """The rows of the selected model, version and slice."""
    import pyarrow.compute as pc

    for name in ("model", "version", "slice"):
        wanted = getattr(selection, name)
        if wanted is not None:
            table = table.filter(pc.equal(table[name], wanted))
    return table


def _named(table: Any) -> list[Series]:
    return [Series(m, model, v, part, labels_in(text)) for m, model, v, part, text in _keys(table)]


def _keys(table: Any) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name].to_pylist() for name in SERIES), strict=True))


def _has_labels(one: Series, selection: Selection) -> bool:
    return all(one.labels.get(name) == value for name, value in selection.labels.items())


def _with_points(table: Any, aggregation: Aggregation) -> list[Series]:
    """The series of folded rows that are sorted by series and time."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if not table.num_rows:
        return []
    if aggregation == "sum":
        values = pc.multiply(table["value"], table["count"].cast(pa.float64()))
    else:
        values = table[_COLUMN[aggregation]]
    changed = np.zeros(table.num_rows, dtype=bool)
    changed[0] = True
    for name in SERIES:
        codes = table[name].combine_chunks().dictionary_encode().indices.to_numpy()
        changed[1:] |= codes[1:] != codes[:-1]
    starts = np.flatnonzero(changed)
    times, numbers = table["taken_at"].cast(pa.int64()).to_numpy().tolist(), values.to_numpy().tolist()
    points = list(zip(times, numbers, strict=True))
    heads = _named(table.take(pa.array(starts)))
    ends = [*starts[1:].tolist(), table.num_rows]
    return [
        Series(one.metric, one.model, one.version, one.slice, one.labels, points[start:end])
        for one, start, end in zip(heads, starts.tolist(), ends, strict=True)
    ]
