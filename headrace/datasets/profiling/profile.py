"""The profile of a version: each column by itself, and how it differs from the same column of another version.

Drift is measured by `headrace.drift.distances`: PSI over bins that hold about equal shares of the reference (numbers,
times), or over its most frequent values and all others (text, booleans); KS exactly, from all values.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np

from headrace.datasets import layout
from headrace.datasets.catalogue import Catalogue
from headrace.datasets.profiling.counting import ColumnProfile, Counting, kind_of
from headrace.datasets.reading.query import connection
from headrace.datasets.using.opened import OpenSet
from headrace.drift.distances import bin_counts, ks, ks_of_samples, psi, quantile_edges

PSI_BINS = 10
MEMORY = "1GB"
_MOST_SAMPLES = 20_000_000
"""With more values, KS is measured between the edges of 4,096 bins."""
_FINE_BINS = 4096


class SetProfile(msgspec.Struct, frozen=True, kw_only=True):
    """What a version holds. `against` is the reference of the columns' `drift`, "" without one."""

    dataset: str
    digest: str
    rows: int
    size: int
    columns: list[ColumnProfile]
    against: str = ""
    only_here: list[str] = []
    only_there: list[str] = []
    seconds: float


def profile_of(
    catalogue: Catalogue, text: str, against: str = "", on_column: Callable[[int, int], None] = lambda *_: None
) -> SetProfile:
    """The profile of `name@version`. The one without a reference is kept in the store, and taken from there.

    Raises:
        ConfigError: there is no such set.
        DamagedSet: its files are not what the manifest says.
    """
    started = time.monotonic()
    opened = OpenSet.of(catalogue, text)
    profile = _kept(catalogue, opened)
    if profile is None:
        profile = _made(opened, on_column, started)
        path = layout.profile(opened.manifest.name, opened.manifest.digest)
        catalogue.store.replace(path, msgspec.json.encode(profile))
    if not against:
        return profile
    reference = OpenSet.of(catalogue, against)
    return _compared(profile, opened, reference, on_column, started)


def _kept(catalogue: Catalogue, opened: OpenSet) -> SetProfile | None:
    try:
        path = layout.profile(opened.manifest.name, opened.manifest.digest)
        return msgspec.json.decode(catalogue.store.read(path), type=SetProfile)
    except (FileNotFoundError, msgspec.DecodeError):
        return None  # none yet, or one of another release


@contextmanager
def _counting(opened: OpenSet) -> Iterator[Counting]:
    with TemporaryDirectory(prefix="headrace-profile-") as spill:
        duck: Any = connection({"rows": opened.paths()}, Path(spill), MEMORY)
        try:
            yield Counting(duck, opened.schema, opened.manifest.rows)
        finally:
            duck.close()


def _made(opened: OpenSet, on_column: Callable[[int, int], None], started: float) -> SetProfile:
    names = opened.schema.names
    columns = []
    with _counting(opened) as counting:
        for i, name in enumerate(names):
            on_column(i, len(names))
            columns.append(counting.profile(name))
    manifest = opened.manifest
    seconds = round(time.monotonic() - started, 3)
    return SetProfile(
        dataset=manifest.set, digest=manifest.digest, rows=manifest.rows, size=manifest.size, columns=columns,
        seconds=seconds,
    )  # fmt: skip


def _compared(
    profile: SetProfile, opened: OpenSet, reference: OpenSet, on_column: Callable[[int, int], None], started: float
) -> SetProfile:
    schema, other = opened.schema, reference.schema
    columns = []
    with _counting(opened) as here, _counting(reference) as there:
        for i, column in enumerate(profile.columns):
            on_column(i, len(profile.columns))
            comparable = column.name in other.names and kind_of(other.field(column.name).type) == column.kind
            drift = _drift(column, here, there) if comparable and column.kind != "other" else None
            columns.append(msgspec.structs.replace(column, drift=drift))
    return msgspec.structs.replace(
        profile,
        columns=columns,
        against=reference.manifest.set,
        only_here=[name for name in schema.names if name not in other.names],
        only_there=[name for name in other.names if name not in schema.names],
        seconds=round(time.monotonic() - started, 3),
    )


def _drift(column: ColumnProfile, here: Counting, there: Counting) -> dict[str, float]:
    if column.kind in ("numeric", "time"):
        return _of_numbers(here.numbers(column.name), there.numbers(column.name))
    values = [one.value for one in there.top(column.name)] if column.kind == "text" else [True, False]
    expected, found = (_categories(counting, column.name, values) for counting in (there, here))
    return {"psi": round(float(psi(expected, found)), 6)}


def _of_numbers(observed: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    edges = quantile_edges(reference, PSI_BINS)
    if len(edges) < 2 or not len(observed):
        return {}
    index = float(psi(bin_counts(reference, edges), bin_counts(observed, edges)))
    if max(len(observed), len(reference)) <= _MOST_SAMPLES:
        distance = ks_of_samples(reference, observed)
    else:
        fine = quantile_edges(reference, _FINE_BINS)
        distance = float(ks(bin_counts(reference, fine), bin_counts(observed, fine)))
    return {"psi": round(index, 6), "ks": round(distance, 6)}


def _categories(counting: Counting, name: str, values: list[Any]) -> np.ndarray:
    found = counting.counts(name, values)
    counts = [found.get(value, 0) for value in values]
    return np.array([*counts, counting.known(name) - sum(counts)], np.int64)
