"""Rows of one series to points at a step."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from headrace.archive.series.files import Run

Aggregation = Literal["avg", "min", "max", "last", "count", "sum"]
COLUMN = {"min": "low", "max": "high", "last": "last"}
"""Which column an aggregation reads beside value and count."""


def points_of(runs: Sequence[Run], step_ms: int, aggregation: Aggregation) -> list[tuple[int, float]]:
    """The points of a series: (start of the step in ms since the epoch, value), oldest first.

    `runs` may come in any order. Values that are no numbers are left out.
    """
    times = np.concatenate([run.times for run in runs])
    columns = {name: np.concatenate([run.columns[name] for run in runs]) for name in runs[0].columns}
    keep = ~np.isnan(columns["value"])
    if not keep.all():
        times, columns = times[keep], {name: column[keep] for name, column in columns.items()}
    if not len(times):
        return []
    if (times[1:] < times[:-1]).any():
        order = np.argsort(times, kind="stable")
        times, columns = times[order], {name: column[order] for name, column in columns.items()}
    steps = times - times % step_ms
    starts = np.flatnonzero(np.concatenate([[True], steps[1:] != steps[:-1]]))
    values = _aggregated(columns, starts, aggregation)
    return list(zip(steps[starts].tolist(), values.tolist(), strict=True))


def _aggregated(columns: dict[str, Any], starts: Any, aggregation: Aggregation) -> Any:
    """One value for each step; the rows of a step begin at `starts`."""
    match aggregation:
        case "min":
            return np.minimum.reduceat(columns["low"], starts)
        case "max":
            return np.maximum.reduceat(columns["high"], starts)
        case "last":
            return columns["last"][np.append(starts[1:], len(columns["last"])) - 1]
        case "count":
            return np.add.reduceat(columns["count"], starts)
    weighed = np.add.reduceat(columns["value"] * columns["count"], starts)
    return weighed if aggregation == "sum" else weighed / np.add.reduceat(columns["count"], starts)
