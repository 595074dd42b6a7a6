"""Profiles: counts are exact, drift is that of the distances, and a profile is made once."""

from pathlib import Path

import numpy as np
import pytest

from headrace.datasets import layout
from headrace.datasets.profiling.profile import profile_of
from headrace.drift.distances import ks_of_samples
from tests.datasets_kit import Sets, lines


@pytest.fixture
def sets(tmp_path: Path) -> Sets:
    made = Sets(tmp_path)
    values = np.random.default_rng(1).normal(size=(2, 2000)).round(6)
    for which, shift in ((0, 0.0), (1, 1.0)):
        rows = [
            (
                f"c{i % 4}" if i % 10 else "",
                "" if i % 20 == 0 else v + shift,
                "true" if i % 2 else "false",
                "2026-01-01",
            )
            for i, v in enumerate(values[which])
        ]
        made.csv("a", lines("city,v,ok,day", rows))
    return made


def test_each_column_is_described_by_what_it_holds(sets: Sets) -> None:
    profile = profile_of(sets.catalogue, "a@1")
    columns = {column.name: column for column in profile.columns}
    values = np.array([v for v in sets.column("a@1", "v") if v is not None])
    v = columns["v"]
    assert (v.kind, v.rows, v.missing, v.min, v.max) == ("numeric", 2000, 100, values.min(), values.max())
    assert (v.mean, v.std) == (pytest.approx(values.mean()), pytest.approx(values.std()))
    assert v.histogram is not None
    assert v.histogram.counts == np.histogram(values, v.histogram.edges)[0].tolist()
    assert v.quantiles["0.5"] == pytest.approx(np.median(values), abs=0.05)
    city = columns["city"]
    assert (city.kind, city.missing, city.distinct) == ("text", 200, 4)
    cities = sets.column("a@1", "city")
    assert {top.value: top.count for top in city.top} == {c: cities.count(c) for c in ("c0", "c1", "c2", "c3")}
    assert [(top.value, top.count) for top in columns["ok"].top] == [("false", 1000), ("true", 1000)]
    assert (columns["day"].kind, columns["day"].min) == ("time", "2026-01-01T00:00:00+00:00")


def test_drift_is_measured_against_another_version(sets: Sets) -> None:
    profile = profile_of(sets.catalogue, "a@2", "a@1")
    drift = {column.name: column.drift for column in profile.columns}
    both = [np.array([v for v in sets.column(f"a@{n}", "v") if v is not None]) for n in (1, 2)]
    assert drift["v"] is not None
    assert drift["v"]["ks"] == pytest.approx(ks_of_samples(*both), abs=1e-6)
    assert drift["v"]["psi"] > 0.25
    assert drift["city"] == {"psi": 0.0}
    assert profile.against == "a@1"


def test_a_profile_is_kept_and_goes_with_its_version(sets: Sets) -> None:
    first = profile_of(sets.catalogue, "a@1")
    manifest = sets.catalogue.manifest("a@1")
    assert profile_of(sets.catalogue, "a@1") == first
    sets.catalogue.remove(manifest, sets.announcer)
    with pytest.raises(FileNotFoundError):
        sets.catalogue.store.read(layout.profile("a", manifest.digest))


def test_infinite_values_and_constant_or_empty_columns_have_figures_too(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from headrace.datasets.importing.job import Files

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [1.0, np.inf, np.nan, 1.0], "n": pa.array([None] * 4, pa.float64())}), path)
    sets = Sets(tmp_path)
    sets.take("a", Files([str(path)]))
    x, n = profile_of(sets.catalogue, "a").columns
    assert (x.infinite, x.missing, x.min, x.max) == (1, 1, 1.0, 1.0)
    assert x.histogram is not None
    assert x.histogram.counts == [2]
    assert (n.missing, n.histogram, n.min) == (4, None, None)
