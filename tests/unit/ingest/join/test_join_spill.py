"""What does not fit into memory is on disk, and decides as if it were in memory."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.join.alone import memory
from services.ingest.join.clock import Span
from services.ingest.join.service import EVENTS, LABELS, SIDES, Record, Rules
from services.ingest.join.state.disk import Disk
from services.ingest.join.state.open import OpenRecords
from services.ingest.join.state.records import Answered, Origin
from services.ingest.join.state.rows import read_record_row, record_row
from services.ingest.join.state.segment import Probe, Segment
from tests.unit.ingest.join.join_kit import T0, WINDOW, join, log, offsets, small_blocks

ORIGIN = Origin(b"k", (("traceparent", b"00"), ("none", None)))


@pytest.mark.parametrize("message", [None, ORIGIN, Answered(None, 4, b"v"), Answered(ORIGIN, 4, b"")])
def test_a_record_comes_back_from_disk_as_it_was(message: Any) -> None:
    record = Record(1 << 40, -5, b"value", message)
    assert read_record_row(record_row("clé", record)) == ("clé", record)


@given(st.lists(st.text(max_size=5), unique=True, min_size=1, max_size=80), st.lists(st.text(max_size=5), max_size=80))
def test_every_key_of_a_segment_is_found_whether_few_or_many_are_looked_up(keys: list[str], others: list[str]) -> None:
    disk = Disk(Path("/tmp"), 1 << 20)
    segment = Segment.write(disk, keys, (key.encode() for key in keys))
    assert segment is not None
    assert disk.used == sum(len(key.encode()) for key in keys)
    for probe in (Probe([*keys, *others, None]), *map(Probe, [[key] for key in keys[:9]])):
        found = {i for i, at in segment.find(probe) if segment.row(at).decode() == probe.keys[i]}
        assert found == {i for i, key in enumerate(probe.keys) if key in keys}
    assert [row.decode() for row in segment.rows(0, len(keys))] == keys
    del segment
    assert disk.used == 0


def test_a_spilled_event_is_joined_once_and_a_spilled_key_tells_a_duplicate(tmp_path: Path) -> None:
    joined = join(rebuild=False, max_bytes=20_000, disk=Disk(tmp_path, 1 << 20))
    joined.feed(EVENTS, log(*((n, f"{n}") for n in range(WINDOW)), *((WINDOW, f"x{n}") for n in range(60))))
    assert joined.waiting(EVENTS) == WINDOW + 60
    assert sum(map(joined.bytes_held, SIDES)) <= 20_000
    assert joined.hot_bytes(EVENTS) < joined.bytes_held(EVENTS)
    assert joined.feed(EVENTS, [Record(100, T0 + WINDOW, b"0")]).pairs == []
    assert joined.counts.duplicates == 1
    labels = [Record(n, T0 + WINDOW, b"%d" % n) for n in range(WINDOW)]
    assert offsets(joined.feed(LABELS, labels).pairs) == [(f"{n}", n, n) for n in range(WINDOW)]
    assert joined.feed(LABELS, [Record(WINDOW, T0 + WINDOW, b"0")]).pairs == []
    assert joined.waiting(EVENTS) == 60
    assert (joined.counts.evicted, joined.counts.forgotten) == (0, 0)


def test_spilled_events_expire_as_others_do_with_and_without_a_default(tmp_path: Path) -> None:
    for defaults in (True, False):
        with small_blocks(1, 1):
            rules = Rules(WINDOW, defaults=defaults)
            joined = join(rules=rules, rebuild=False, max_bytes=6_000, disk=Disk(tmp_path, 1 << 20))
            joined.feed(EVENTS, log(*((n, f"{n}") for n in range(WINDOW))))
            joined.feed(LABELS, [Record(0, T0 + 5, b"3")])
            pairs = joined.feed(LABELS, [Record(1, T0 + 3 * WINDOW, b"z")]).pairs
            assert sorted(p.event.offset for p in pairs) == ([n for n in range(WINDOW) if n != 3] if defaults else [])
            assert joined.counts.expired == [WINDOW - 1, 0]
            assert joined.waiting(EVENTS) == 0


def test_of_one_key_the_oldest_is_joined_first_though_it_is_on_disk(tmp_path: Path) -> None:
    store = OpenRecords(100)
    store.add("a", Record(0, 10, b"old"), Span(10, 10))
    assert store.spill(Disk(tmp_path, 1 << 20)) == 1
    store.add("a", Record(5, 90, b"new"), Span(90, 90))
    assert len(store) == 2
    store.load(Probe(["a"]))
    taken = [store.take("a", Span(50, 50)) for _ in range(3)]
    assert [open_.record.value if open_ else None for open_ in taken] == [b"old", b"new", None]


def test_where_the_disk_is_full_the_oldest_are_given_up_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    for disk in (Disk(tmp_path, 0), Disk(file / "no-folder", 1 << 20)):
        joined = join(rebuild=False, max_bytes=20_000, disk=disk)
        joined.feed(EVENTS, log(*((n, f"{n}") for n in range(200))))
        assert sum(map(joined.bytes_held, SIDES)) <= 20_000
        assert joined.counts.evicted + joined.counts.forgotten > 0


def test_a_state_larger_than_memory_and_disk_index_together_stays_within_its_bound(tmp_path: Path) -> None:
    found = list(memory(windows=8, per_s=10_000, window_s=2, max_bytes=2 << 20, disk=Disk(tmp_path, 1 << 30)))
    unbounded = list(memory(windows=8, per_s=10_000, window_s=2))
    assert max(m.held for m in found) <= 2 << 20
    assert unbounded[-1].held > 4 << 20
    assert [(m.waiting, m.keys) for m in found] == [(m.waiting, m.keys) for m in unbounded]


def test_a_spilling_join_makes_the_pairs_of_one_that_does_not(tmp_path: Path) -> None:
    """Keys come again, labels contradict each other, many batches."""
    rules = Rules(2000, defaults=True, corrections=True, late="dead_letter")
    draw, made = random.Random(7), []

    def values() -> list[Record]:
        keys = [draw.randrange(n // 2, n // 2 + 900) for n in range(8000)]
        return [
            Record(n, T0 + n * 2 + draw.randrange(40), b"%d=%d" % (key, draw.randrange(2)))
            for n, key in enumerate(keys)
        ]

    logs = values(), values()
    spilling = {"max_bytes": 120_000, "disk": Disk(tmp_path, 1 << 30)}
    for options in (spilling, {}):
        with small_blocks(16, 4):
            joined = join(rules=rules, rebuild=False, **options)
            steps = [(side, start) for start in range(0, 8000, 250) for side in SIDES]
            output = [joined.feed(side, logs[side][start : start + 250]) for side, start in steps]
        assert joined.counts.evicted + joined.counts.forgotten == 0
        assert options == {} or sum(map(joined.bytes_held, SIDES)) <= 120_000
        pairs = [pair for one in output for pair in one.pairs]
        made.append(
            (
                sorted((*found, pair.corrected) for found, pair in zip(offsets(pairs), pairs, strict=True)),
                sorted(r.record.offset for one in output for r in one.rejected),
                joined.counts.duplicates,
                joined.counts.expired,
            )
        )
    assert made[0] == made[1]
    assert {pair[3] for pair in made[0][0]} == {True, False}
