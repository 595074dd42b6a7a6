"""Segments: whole or not there, one after the other, counted once whatever is merged or removed meanwhile."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.archive.segments.listing import Segment, arranged, list_segments, named, path_of
from headrace.archive.segments.manifest import Manifest, read_manifest
from headrace.archive.segments.merging import Candidate, Plan, merge_folder, runs_to_merge
from headrace.archive.segments.removing import Kept, too_much, too_old
from headrace.archive.segments.writing import DURABLE, RENAMED, SYNCED, WRITTEN, Lock, sweep, write_segment
from headrace.runtime.errors import DependencyError, FencedError


def manifest(first: int, end: int, partition: int = 0) -> Manifest:
    return Manifest("t", "id", partition, first, end, end - first, first * 10, (end - 1) * 10)


def table(first: int, end: int, **further: object) -> pa.Table:
    return pa.table({"_offset": list(range(first, end)), **{n: [v] * (end - first) for n, v in further.items()}})


def put(folder: Path, first: int, end: int, **further: object) -> Segment:
    return write_segment(folder, table(first, end, **further), manifest(first, end))


def offsets(folder: Path) -> list[int]:
    return [o for one in list_segments(folder).current for o in pq.read_table(one.path)["_offset"].to_pylist()]


def test_a_segments_name_says_what_it_holds(tmp_path: Path) -> None:
    kept = put(tmp_path, 5, 9)
    assert named(kept.path) == Segment(0, 5, 9, kept.path)
    assert read_manifest(kept.path) == manifest(5, 9)
    assert list_segments(tmp_path).ends == {0: 9}
    assert named(tmp_path / "x.parquet") is None


def test_what_a_merged_segment_covers_counts_no_more(tmp_path: Path) -> None:
    one, two, both = (Segment(0, *r, path_of(tmp_path, 0, *r)) for r in ((0, 5), (5, 9), (0, 9)))
    other = Segment(1, 3, 7, path_of(tmp_path, 1, 3, 7))
    found = arranged([two, other, both, one])
    assert found.current == (both, other)
    assert found.replaced == (one, two)


def test_segments_that_overlap_are_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="both hold offset 3 of partition 0"):
        arranged([Segment(0, 0, 5, tmp_path / "a"), Segment(0, 3, 9, tmp_path / "b")])


@pytest.mark.parametrize("died", [WRITTEN, SYNCED, RENAMED, DURABLE])
def test_a_segment_is_there_whole_or_not_at_all(tmp_path: Path, died: str) -> None:
    def step(name: str) -> None:
        if name == died:
            os._exit(9)

    put(tmp_path, 0, 4)
    child = os.fork()
    if not child:
        write_segment(tmp_path, table(4, 8), manifest(4, 8), step)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    is_there = died in {RENAMED, DURABLE}
    assert offsets(tmp_path) == list(range(8 if is_there else 4))
    assert sweep(tmp_path) == (0 if is_there else 1)
    assert {path.name for path in tmp_path.iterdir()} == {one.path.name for one in list_segments(tmp_path).current}


def test_who_does_not_go_on_where_the_segments_end_is_fenced(tmp_path: Path) -> None:
    put(tmp_path, 0, 4)
    with pytest.raises(FencedError, match="kept up to offset 4, and this process was to go on at 2"):
        put(tmp_path, 2, 6)
    assert offsets(tmp_path) == list(range(4))
    assert sweep(tmp_path) == 0


def test_an_archive_has_one_writer(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    with pytest.raises(DependencyError, match="another process writes"):
        Lock(tmp_path)
    lock.release()
    Lock(tmp_path).release()


def test_neighbours_of_one_size_and_day_are_merged_until_they_are_large(tmp_path: Path) -> None:
    def lengths(sizes: list[int], days: int = 1000) -> list[list[int]]:
        found = [Candidate(Segment(0, i, i + 1, tmp_path / str(i)), n, i // days) for i, n in enumerate(sizes)]
        return [[one.first for one in run] for run in runs_to_merge(found, Plan(target=1000, fan_in=4))]

    assert lengths([900, 100, 3, 3, 3, 3, 3, 1000, 3, 3]) == [[2, 3, 4, 5, 6]]
    assert lengths([3] * 10, days=1) == []
    assert lengths([300] * 10) == []
    assert lengths([200] * 10) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert lengths([3] * 10, days=5) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_segments_with_a_gap_between_them_are_not_merged(tmp_path: Path) -> None:
    found = [Candidate(Segment(0, i * 2, i * 2 + 1, tmp_path / str(i)), 3, 0) for i in range(10)]
    assert runs_to_merge(found, Plan(target=1000, fan_in=4)) == []


def test_merged_segments_have_every_row_once_and_new_columns(tmp_path: Path) -> None:
    for i in range(4):
        put(tmp_path, i * 3, i * 3 + 3, **({"city": "Graz"} if i > 1 else {}), x=i or 0.5)
    assert merge_folder(tmp_path, Plan(target=1 << 20, fan_in=4)) == 4
    listing = list_segments(tmp_path)
    (merged,) = listing.current
    assert len(listing.replaced) == 4
    rows = pq.read_table(merged.path)
    assert rows["_offset"].to_pylist() == list(range(12))
    assert rows["city"].to_pylist() == [None] * 6 + ["Graz"] * 6
    assert rows["x"].to_pylist()[::3] == [0.5, 1.0, 2.0, 3.0]
    found = read_manifest(merged.path)
    assert (found.first, found.next, found.rows, found.from_ms, found.to_ms, found.merged) == (0, 12, 12, 0, 110, 4)
    for one in listing.replaced:  # at every moment of removing, every record counts once
        one.path.unlink()
        assert offsets(tmp_path) == list(range(12))


def test_columns_whose_types_do_not_go_together_stay_apart(tmp_path: Path) -> None:
    for i in range(4):
        put(tmp_path, i, i + 1, x=["text"] if i == 2 else 1)
    assert merge_folder(tmp_path, Plan(target=1 << 20, fan_in=4)) == 0
    assert offsets(tmp_path) == [0, 1, 2, 3]


def test_the_oldest_go_first_and_the_newest_of_a_partition_never(tmp_path: Path) -> None:
    kept = [
        Kept(Segment(p, i, i + 1, tmp_path / f"{p}-{i}"), manifest(i, i + 1, p), 10) for p in range(2) for i in range(3)
    ]
    assert [one.segment.path.name for one in too_old(kept, 10)] == ["0-0", "1-0"]
    assert [one.segment.path.name for one in too_old(kept, 10**9)] == ["0-0", "0-1", "1-0", "1-1"]
    assert [one.segment.path.name for one in too_much(kept, 45)] == ["0-0", "1-0"]
    assert len(too_much(kept, 0)) == 4
