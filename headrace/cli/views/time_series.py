"""Time series as people read them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import typer
from rich.table import Table

from headrace.archive.queries.running import Answer
from headrace.archive.series.reading import Series
from headrace.archive.series.samples import label_text
from headrace.cli.views.formats import table_console

_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 40


def show_names(names: Mapping[str, int]) -> None:
    """The metrics, and how many series each has."""
    table = Table("metric")
    table.add_column("series", justify="right")
    for name, count in names.items():
        table.add_row(name, str(count))
    table_console().print(table)


def show_series(found: Sequence[Series], *, as_json: bool) -> None:
    """Each series as a row, or as a JSON object with its points."""
    if as_json:
        for one in found:
            typer.echo(msgspec.json.encode({**one.shown(), "points": one.points}))
        return
    table = Table("metric", "model", "version", "slice", "labels", "course")
    for name in ("lowest", "mean", "highest", "last"):
        table.add_column(name, justify="right")
    for one in found:
        values = [value for _, value in one.points]
        labels = ", ".join(f"{name}={value}" for name, value in one.labels.items())
        numbers = (min(values), sum(values) / len(values), max(values), values[-1])
        version = str(one.version) if one.version else ""
        table.add_row(one.metric, one.model, version, one.slice, labels, course(values), *(f"{n:.4g}" for n in numbers))
    table_console().print(table)


def course(values: Sequence[float], width: int = _WIDTH) -> str:
    """The values as a line of bars; each bar is the mean of as many values as it stands for."""
    if not values:
        return ""
    count = min(width, len(values))
    parts = [values[i * len(values) // count : (i + 1) * len(values) // count] for i in range(count)]
    means = [sum(part) / len(part) for part in parts]
    low, high = min(means), max(means)
    if high == low:
        return _BARS[4] * count
    return "".join(_BARS[1 + round((mean - low) / (high - low) * (len(_BARS) - 2))] for mean in means)


def as_rows(found: Sequence[Series]) -> Answer:
    """The points of all series, as rows."""
    import pyarrow as pa

    rows = [
        (datetime.fromtimestamp(at / 1000, UTC).replace(tzinfo=None), one, value)
        for one in found
        for at, value in one.points
    ]
    columns = {
        "taken_at": pa.array([at for at, _, _ in rows], pa.timestamp("ms")),
        "metric": pa.array([one.metric for _, one, _ in rows], pa.string()),
        "model": pa.array([one.model for _, one, _ in rows], pa.string()),
        "version": pa.array([one.version for _, one, _ in rows], pa.int64()),
        "slice": pa.array([one.slice for _, one, _ in rows], pa.string()),
        "labels": pa.array([label_text(one.labels) for _, one, _ in rows], pa.string()),
        "value": pa.array([value for _, _, value in rows], pa.float64()),
    }
    return Answer(pa.table(columns), is_cut=False)
