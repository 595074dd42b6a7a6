"""The metrics store: folding is exact, a day is folded once, late samples are folded in, nothing is counted twice."""

from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.archive.folder import HOURS, MINUTES, topic_folder
from headrace.archive.segments.manifest import Manifest
from headrace.archive.segments.merging import Plan, merge_folder
from headrace.archive.segments.writing import DURABLE, RENAMED, SYNCED, WRITTEN, write_segment
from headrace.archive.series.days import DAY_MS, HOUR_MS, MINUTE_MS, list_days
from headrace.archive.series.folding import fold
from headrace.archive.series.keeping import LATE_MS, Folding
from headrace.archive.series.reading import MetricsReader, Selection, Window, duration_ms, time_ms, window_of
from headrace.archive.series.samples import ORDER, MetricsTable
from headrace.archive.tables import Records
from headrace.contracts.records import Sample, Samples
from headrace.runtime.errors import ConfigError
from services.archive.tidying import Keeping, Tidying

DAY = 1_788_220_800_000 + DAY_MS
"""2026-09-02."""
TABLE = MetricsTable("toy")


def rows(taken: list[tuple[int, str, float]], first: int = 0) -> pa.Table:
    """Samples of (time in ms, metric, value), each a record."""
    values = [msgspec.json.encode(Samples("toy", at * 1000, "t", [Sample(m, v, "toy")])) for at, m, v in taken]
    offsets = list(range(first, first + len(taken)))
    return TABLE.encoder()(Records(0, offsets, [0] * len(taken), [b"toy"] * len(taken), values))


def keep(root: Path, taken: list[tuple[int, str, float]], first: int) -> int:
    """Write a segment of samples; returns the offset after it."""
    made = rows(taken, first)
    end = first + len(taken)
    manifest = Manifest(TABLE.topic, "id", 0, first, end, made.table.num_rows, made.from_ms, made.to_ms)
    write_segment(topic_folder(root, "metrics", "id"), made.table, manifest)
    return end


def day_of_samples(day: int, every_ms: int = 600_000) -> list[tuple[int, str, float]]:
    return [
        (at, metric, float(at % 7 + n)) for at in range(day, day + DAY_MS, every_ms) for n, metric in enumerate("ab")
    ]


def points(root: Path, start: int, end: int, step: int, metric: str = "a") -> list[float]:
    """The sums of a metric's steps."""
    found = MetricsReader(root).query(Selection([metric]), Window(start, end, step), "sum")
    return [value for one in found for _, value in one.points]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 7_200_000), st.sampled_from("ab"), st.floats(-1e6, 1e6)), max_size=30))
def test_hours_of_minutes_are_the_hours_of_the_samples(taken: list[tuple[int, str, float]]) -> None:
    table = rows(taken).table
    direct, by_minutes = fold([table], HOUR_MS), fold([fold([table], MINUTE_MS)], HOUR_MS)
    for name in ("metric", "taken_at", "low", "high", "count"):
        assert direct[name].to_pylist() == by_minutes[name].to_pylist()
    assert direct["value"].to_pylist() == pytest.approx(by_minutes["value"].to_pylist(), rel=1e-9, abs=1e-6)
    assert sum(direct["count"].to_pylist()) == len(taken)


def test_a_day_that_is_over_is_folded_once_and_late_samples_into_it(tmp_path: Path) -> None:
    end = keep(tmp_path, day_of_samples(DAY), 0)
    end = keep(tmp_path, day_of_samples(DAY + DAY_MS), end)
    folding, total = Folding(tmp_path), sum(v for _, m, v in day_of_samples(DAY) if m == "a")
    assert folding.fold_days(DAY + DAY_MS + LATE_MS - 1) == 0
    now = DAY + DAY_MS + LATE_MS
    assert (folding.fold_days(now), folding.fold_days(now)) == (2, 0)
    assert sum(points(tmp_path, DAY, DAY + DAY_MS, HOUR_MS)) == pytest.approx(total)
    assert len(list_days(tmp_path / MINUTES)[0]) == len(list_days(tmp_path / HOURS)[0]) == 1
    keep(tmp_path, [(DAY + 5, "a", 1000.0), (DAY + DAY_MS + 5, "a", 1.0)], end)
    assert (folding.fold_days(now), folding.fold_days(now)) == (2, 0)
    for step in (MINUTE_MS, HOUR_MS):
        assert sum(points(tmp_path, DAY, DAY + DAY_MS, step)) == pytest.approx(total + 1000.0)


@pytest.mark.parametrize("died", [WRITTEN, SYNCED, RENAMED, DURABLE])
def test_folding_that_dies_anywhere_is_done_again_without_a_sample_twice(tmp_path: Path, died: str) -> None:
    class DiedError(Exception):
        pass

    def step(name: str) -> None:
        if name == died:
            raise DiedError

    keep(tmp_path, day_of_samples(DAY), 0)
    now, wanted = DAY + 2 * DAY_MS, sum(v for _, m, v in day_of_samples(DAY) if m == "a")
    for _ in range(3):
        with pytest.raises(DiedError):
            Folding(tmp_path, step).fold_days(now)
        assert sum(points(tmp_path, DAY, DAY + DAY_MS, HOUR_MS)) == pytest.approx(wanted)
        if died in {RENAMED, DURABLE} and not list_days(tmp_path / HOURS)[0]:
            continue
        break
    Folding(tmp_path).fold_days(now)
    for width in (MINUTE_MS, HOUR_MS):
        assert sum(points(tmp_path, DAY, DAY + DAY_MS, width)) == pytest.approx(wanted)


def test_days_of_a_month_become_one_file_and_stay_what_they_were(tmp_path: Path) -> None:
    end, first = 0, DAY
    for i in range(32):
        end = keep(tmp_path, day_of_samples(first + i * DAY_MS, HOUR_MS * 4), end)
    folding, now = Folding(tmp_path), first + 33 * DAY_MS
    folding.fold_days(now)
    before = points(tmp_path, first, now, HOUR_MS), points(tmp_path, first, now, MINUTE_MS)
    assert folding.merge_months(now) > 0
    assert folding.merge_months(now) == 0
    assert folding.fold_days(now) == 0
    assert (points(tmp_path, first, now, HOUR_MS), points(tmp_path, first, now, MINUTE_MS)) == before
    current, replaced = list_days(tmp_path / MINUTES)
    assert len(current) < 6 < len(replaced)
    keep(tmp_path, [(first + 5, "a", 50.0)], end)
    folding.fold_days(now)
    assert sum(points(tmp_path, first, now, HOUR_MS)) == pytest.approx(sum(before[0]) + 50.0)


def test_a_round_keeps_samples_for_days_minutes_for_months_and_hours_for_years(tmp_path: Path) -> None:
    end = 0
    for i in range(12):
        end = keep(tmp_path, day_of_samples(DAY + i * DAY_MS), end)
    total = [v for i in range(12) for _, m, v in day_of_samples(DAY + i * DAY_MS) if m == "a"]
    keeping = Keeping(30, 1 << 40, samples_days=2, minutes_days=5, hours_days=8, grace_s=0)
    now_s = (DAY + 12 * DAY_MS + LATE_MS) / 1000
    Tidying(tmp_path, [], Plan(1 << 20, 4), keeping).round(now_s)
    assert [one.start for one in list_days(tmp_path / MINUTES)[0]] == [DAY + i * DAY_MS for i in range(7, 12)]
    assert [one.start for one in list_days(tmp_path / HOURS)[0]] == [DAY + i * DAY_MS for i in range(4, 12)]
    kept = sum(total[len(total) * 4 // 12 :])
    for step in (10_000, MINUTE_MS, HOUR_MS, DAY_MS):
        assert sum(points(tmp_path, DAY, DAY + 13 * DAY_MS, step)) == pytest.approx(kept)


def test_merged_samples_are_sorted_by_series(tmp_path: Path) -> None:
    end = 0
    for i in range(4):
        end = keep(tmp_path, [(DAY + i, m, 1.0) for m in "ba"], end)
    folder = topic_folder(tmp_path, "metrics", "id")
    assert merge_folder(folder, Plan(1 << 20, 4), ORDER) == 4
    (name,) = MetricsReader(tmp_path).names(Window(DAY, DAY + 1, 10)).items() & {("a", 1)}
    assert name == ("a", 1)
    assert points(tmp_path, DAY, DAY + 4, 4, "b") == [4.0]


def test_series_are_told_apart_by_version_slice_and_labels(tmp_path: Path) -> None:
    samples = [
        Sample("error", 1.0, "m", 1), Sample("error", 2.0, "m", 2), Sample("error", 3.0, "m", 2, "zone=4"),
        Sample("error", 4.0, "m", labels={"baseline": "zero", "a": "b"}), Sample("auc", 5.0, "m"),
    ]  # fmt: skip
    value = msgspec.json.encode(Samples("toy", DAY * 1000, "t", samples))
    other = msgspec.json.encode(Samples("another", DAY * 1000, "t", samples))
    made = TABLE.encoder()(Records(0, [0, 1, 2], [0] * 3, [b"toy"] * 3, [value, other, b"{}"]))
    assert made.unreadable == 1
    assert "@2: " in made.problem
    manifest = Manifest(TABLE.topic, "id", 0, 0, 3, 5, made.from_ms, made.to_ms)
    write_segment(topic_folder(tmp_path, "metrics", "id"), made.table, manifest)
    reader, window = MetricsReader(tmp_path), Window(DAY, DAY + 1, 1000)
    assert reader.names(window) == {"auc": 1, "error": 4}
    assert {(s.version, s.slice) for s in reader.series(Selection(["error"], "m"), window)} == {
        (0, ""), (1, ""), (2, ""), (2, "zone=4"),
    }  # fmt: skip
    picked = [
        Selection(["error"], version=1), Selection(["error"], slice="zone=4"),
        Selection(["error"], labels={"baseline": "zero"}), Selection(["auc", "none"]), Selection(["error"], "other"),
    ]  # fmt: skip
    assert [[p for one in reader.query(s, window) for p in one.points] for s in picked] == [
        [(DAY, 1.0)], [(DAY, 3.0)], [(DAY, 4.0)], [(DAY, 5.0)], [],
    ]  # fmt: skip


def test_times_and_steps_are_read_as_people_write_them() -> None:
    assert [duration_ms("step", t) for t in ("10s", "1m", "2h", "7d", "250ms", "30")] == [
        10_000, 60_000, 7_200_000, 604_800_000, 250, 30_000,
    ]  # fmt: skip
    assert time_ms("from", "2026-11-27T12:00:00Z", 0) == time_ms("from", "1795780800", 0) == 1_795_780_800_000
    assert time_ms("from", "2026-11-27T12:00:00", 0) == 1_795_780_800_000
    assert time_ms("from", "-90d", 90 * DAY_MS) == 0
    assert window_of("-90d", None, None, 1e9) == Window(10**12 - 90 * DAY_MS, 10**12, 21_600_000)
    for bad in (("yesterday", None, None), ("-1h", "-2h", None), (None, None, "soon"), ("-9000d", None, "1ms")):
        with pytest.raises(ConfigError):
            window_of(*bad)


def test_a_step_has_what_is_asked_of_its_samples(tmp_path: Path) -> None:
    end = keep(tmp_path, [(DAY + 70_000, "a", 5.0), (DAY + 80_000, "a", float("nan"))], 0)
    keep(tmp_path, [(DAY, "a", 4.0), (DAY + 10_000, "a", 1.0), (DAY + 50_000, "a", 2.5)], end)
    reader, window = MetricsReader(tmp_path), Window(DAY, DAY + DAY_MS, MINUTE_MS)
    wanted = {"avg": 2.5, "min": 1.0, "max": 4.0, "last": 2.5, "count": 3, "sum": 7.5}
    for _ in range(2):  # of samples, then of minutes
        for aggregation, value in wanted.items():
            (series,) = reader.query(Selection(["a"]), window, aggregation)  # type: ignore[arg-type]
            assert series.points == [(DAY, value), (DAY + MINUTE_MS, 1 if aggregation == "count" else 5.0)]
        Folding(tmp_path).fold_days(DAY + 2 * DAY_MS)
