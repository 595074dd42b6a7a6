"""When the archive writes, and what it does with records that come again."""

from pathlib import Path

import pyarrow as pa
import pytest

from headrace.archive.segments.listing import list_segments
from headrace.archive.tables import Records, Rows
from services.archive.service import Archive, Lane, Limits, Source


class Table:
    name, topic = "t", "toy.t"

    def columns(self) -> pa.Schema:
        return pa.schema([("v", pa.binary())])

    def encoder(self):
        return encode


def encode(records: Records) -> Rows:
    kept = [value for value in records.values if value != b"other"]
    return Rows(pa.table({"v": pa.array(kept, pa.binary())}), 0, min(records.at_ms), max(records.at_ms))


class World:
    def __init__(self, folder: Path, limits: Limits, partitions: int = 1) -> None:
        self.committed, self.kept_paths = list[tuple[str, int, int]](), list[Path]()
        self.folder = folder
        lanes = [Lane(Source(Table(), "id", p, folder), 0, encode) for p in range(partitions)]
        self.archive = Archive(lanes, limits, commit=lambda *c: self.committed.append(c), observer=self)
        self.lanes = lanes

    def kept(self, lane: Lane, rows: Rows, path: Path) -> None:
        self.kept_paths.append(path)

    def spans(self) -> list[tuple[int, int, int]]:
        return [(one.partition, one.first, one.next) for one in list_segments(self.folder).current]


MANY = 1 << 40


def test_records_are_written_after_a_time_or_a_number_or_a_size(tmp_path: Path) -> None:
    world = World(tmp_path, Limits(10.0, 3, 1000, MANY), partitions=3)
    slow, many, large = world.lanes
    slow.add(0, 1, b"k", b"v", now=5.0)
    for i in range(3):
        many.add(i * 2, 1, None, b"v", now=6.0)
    large.add(0, 1, b"k", b"v" * 1000, now=6.0)
    assert world.archive.keep_due(6.0) == 2
    assert world.spans() == [(1, 0, 5), (2, 0, 1)]
    assert world.archive.keep_due(14.9) == 0
    assert world.archive.keep_due(15.0) == 1
    assert world.committed == [("toy.t", 1, 5), ("toy.t", 2, 1), ("toy.t", 0, 1)]
    assert world.archive.bytes == 0
    many.add(5, 1, None, b"v", now=20.0)
    world.archive.keep_all()
    assert world.spans()[1:3] == [(1, 0, 5), (1, 5, 6)]


def test_a_record_that_was_read_before_is_passed_over(tmp_path: Path) -> None:
    world = World(tmp_path, Limits(10.0, 100, MANY, MANY))
    (lane,) = world.lanes
    for offset in (0, 1, 1, 0, 4):
        lane.add(offset, 1, None, b"v", now=0.0)
    assert list(lane.offsets) == [0, 1, 4]


def test_memory_in_all_is_limited_by_writing_the_largest(tmp_path: Path) -> None:
    world = World(tmp_path, Limits(10.0, 100, MANY, 3000), partitions=3)
    for lane, size in zip(world.lanes, (100, 2500, 1000), strict=True):
        lane.add(0, 1, None, b"v" * size, now=0.0)
    assert world.archive.keep_due(1.0) == 1
    assert world.spans() == [(1, 0, 1)]


def test_records_of_no_concern_are_covered_by_the_next_segment(tmp_path: Path) -> None:
    world = World(tmp_path, Limits(1.0, 100, MANY, MANY))
    (lane,) = world.lanes
    lane.add(0, 1, None, b"other", now=0.0)
    assert world.archive.keep_due(9.0) == 0
    lane.add(1, 1, None, b"v", now=10.0)
    assert world.archive.keep_due(19.0) == 1
    assert world.spans() == [(0, 0, 2)]


def test_a_storage_that_refuses_ends_the_work_and_keeps_the_records(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    world = World(tmp_path / "file", Limits(1.0, 100, MANY, MANY))
    (lane,) = world.lanes
    lane.add(0, 1, None, b"v", now=0.0)
    with pytest.raises(OSError, match="file"):
        world.archive.keep_due(9.0)
    assert list(lane.offsets) == [0]
    assert world.committed == []
