"""What is counted of one column by DuckDB, a column at a time: bounded memory, whatever the number of rows.

Counts, missing values, extremes, mean, deviation and histograms are exact; the number of different values is estimated
(HyperLogLog), and so are quantiles (t-digest) and which values are the most frequent: their counts are exact again.
"""

# ruff: noqa: S608 - names of columns are quoted, numbers are written by repr, values are parameters
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa

Kind = Literal["numeric", "text", "bool", "time", "other"]
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 40
TOP = 20
_LONGEST = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Histogram(msgspec.Struct, frozen=True):
    """`counts[i]` values are from `edges[i]` to `edges[i + 1]`, which the last one includes. Times are seconds."""

    edges: list[float]
    counts: list[int]


class TopValue(msgspec.Struct, frozen=True):
    """A frequent value, as text, and how often it occurs."""

    value: str
    count: int


class ColumnProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One column. Numbers are None where they are not defined; times are ISO 8601, in quantiles and bins seconds.

    `missing` counts nulls and NaN; `distinct` is an estimate within a few percent; `infinite` values are in no figure.
    """

    name: str
    type: str
    kind: Kind
    rows: int
    missing: int
    infinite: int = 0
    distinct: int
    min: float | str | None = None
    max: float | str | None = None
    mean: float | None = None
    std: float | None = None
    quantiles: dict[str, float] = {}
    histogram: Histogram | None = None
    top: list[TopValue] = []
    longest: int | None = None
    drift: dict[str, float] | None = None


def kind_of(kind: pa.DataType) -> Kind:
    """How a column of that type is described."""
    of = pa.types
    if of.is_boolean(kind):
        return "bool"
    if of.is_integer(kind) or of.is_floating(kind) or of.is_decimal(kind):
        return "numeric"
    if of.is_timestamp(kind) or of.is_date(kind):
        return "time"
    return "text" if of.is_string(kind) or of.is_large_string(kind) else "other"


class Counting:
    """Counts columns of a view `rows`."""

    def __init__(self, connection: Any, schema: pa.Schema, rows: int, table: str = "rows") -> None:
        self._connection, self._schema, self._rows, self._table = connection, schema, rows, quoted(table)

    def profile(self, name: str) -> ColumnProfile:
        """One column's profile."""
        field = self._schema.field(name)
        kind = kind_of(field.type)
        base = {"name": name, "type": str(field.type), "kind": kind, "rows": self._rows}
        if kind in ("numeric", "time"):
            return self._numbers(name, kind, base)
        return self._values(name, base, text=kind == "text")

    def _numbers(self, name: str, kind: Kind, base: dict[str, Any]) -> ColumnProfile:
        value = number_of(self._schema.field(name).type, name)
        quantiles = ", ".join(map(str, QUANTILES))
        known, infinite, low, high, mean, std, distinct, cuts = self._one(
            f"select count(v), (select count(*) from {self._table} where isinf({value})), min(v), max(v), avg(v), "
            f"stddev_pop(v), approx_count_distinct(v), approx_quantile(v, [{quantiles}]) "
            f"from (select {value} as v from {self._table}) where isfinite(v)"
        )
        shown = _as_time if kind == "time" else lambda number: number
        return ColumnProfile(
            **base, missing=self._rows - known - infinite, infinite=infinite, distinct=min(distinct, known),
            min=shown(low), max=shown(high), mean=_finite(mean), std=_finite(std),
            quantiles={str(q): float(cut) for q, cut in zip(QUANTILES, cuts or (), strict=False)},
            histogram=self._histogram(value, low, high),
        )  # fmt: skip

    def _histogram(self, value: str, low: float | None, high: float | None) -> Histogram | None:
        if low is None or high is None:
            return None
        edges = np.linspace(low, high, BINS + 1).tolist() if high > low else [low, high]
        return Histogram(edges, self.bins(value, edges))

    def bins(self, value: str, edges: Sequence[float]) -> list[int]:
        """How many finite values are between two edges each; the last one is included, values beyond count outside."""
        found = self._histogram_counts(value, edges)
        counts = [0] * (len(edges) - 1)
        for at, count in found:
            counts[int(at)] += int(count)
        return counts

    def _histogram_counts(self, value: str, edges: Sequence[float]) -> list[tuple[int, int]]:
        """By DuckDB's own histogram, whose bins include their upper edge: so each edge is the float before it."""
        upper = [float(np.nextafter(edge, -np.inf)) for edge in edges[1:-1]] or [float(edges[-1])]
        bounds = ", ".join(f"{edge!r}::double" for edge in upper)
        (found,) = self._one(
            f"select histogram(v, [{bounds}]) from (select {value} as v from {self._table}) where isfinite(v)"
        )
        places = {edge: i for i, edge in enumerate(upper)}
        return [(places.get(edge, len(upper)), count) for edge, count in (found or {}).items()]

    def _values(self, name: str, base: dict[str, Any], *, text: bool) -> ColumnProfile:
        column = quoted(name)
        known, distinct = self._one(f"select count({column}), approx_count_distinct({column}) from {self._table}")
        longest = self._one(f"select max(length({column})) from {self._table}")[0] if text else None
        top = [] if base["kind"] == "other" else self.top(name)
        low, high = self._one(f"select min({column}), max({column}) from {self._table}") if text else (None, None)
        cut = [value[:_LONGEST] if isinstance(value, str) else None for value in (low, high)]
        return ColumnProfile(
            **base, missing=self._rows - known, distinct=min(distinct, known), top=top, longest=longest,
            min=cut[0], max=cut[1],
        )  # fmt: skip

    def top(self, name: str) -> list[TopValue]:
        """The most frequent values that occur more than once, the most frequent first."""
        column = quoted(name)
        (values,) = self._one(f"select approx_top_k({column}, {TOP}) from {self._table}")
        counts = self.counts(name, [value for value in values or () if value is not None])
        top = sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))
        return [TopValue(_shown(value), count) for value, count in top if count > 1]

    def counts(self, name: str, values: Sequence[Any]) -> dict[Any, int]:
        """How often each of some values occurs."""
        if not values:
            return {}
        column = quoted(name)
        found = self._connection.execute(
            f"select {column}, count(*) from {self._table} where {column} in (select unnest(?)) group by all",
            [list(values)],
        ).fetchall()
        return {value: int(count) for value, count in found}

    def known(self, name: str) -> int:
        """Values that are not missing."""
        return int(self._one(f"select count({quoted(name)}) from {self._table}")[0])

    def numbers(self, name: str) -> np.ndarray:
        """All finite values of a column, float64."""
        value = number_of(self._schema.field(name).type, name)
        found = self._connection.execute(
            f"select v from (select {value} as v from {self._table}) where isfinite(v)"
        ).fetchnumpy()["v"]
        return np.asarray(np.ma.getdata(found), np.float64)

    def _one(self, query: str) -> Any:
        return self._connection.execute(query).fetchone()


def quoted(name: str) -> str:
    """An identifier of SQL."""
    text = name.replace('"', '""')
    return f'"{text}"'


def number_of(kind: pa.DataType, name: str) -> str:
    """The expression of a column's value as a double; of times seconds since the epoch. NaN is no value."""
    column = quoted(name)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return f"epoch({column})"
    return f"{column}::double"


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _as_time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return (value.isoformat() if isinstance(value, date | datetime) else str(value))[:_LONGEST]
