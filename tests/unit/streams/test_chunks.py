"""Chunks: records of one partition in columns."""

import pytest

from headrace.streams.chunks import Chunk, Partition, by_partition, header, headers_named, timestamp_ms
from headrace.streams.memory import MemoryRecord, memory_chunk


def test_a_chunk_knows_its_offsets_and_size():
    chunk = memory_chunk([b"abc", b"", None, b"de"], topic="rides.events", partition=3, first_offset=40)
    assert (chunk.first_offset, chunk.last_offset, chunk.next_offset) == (40, 43, 44)
    assert len(chunk) == 4
    assert chunk.size_bytes == 5
    assert chunk.source == Partition("rides.events", 3) == ("rides.events", 3)


def test_columns_are_in_the_order_of_the_records():
    chunk = memory_chunk([b"a", None])
    assert chunk.values() == [b"a", None]
    assert chunk.keys() == [b"0", b"1"]
    assert chunk.offsets() == [0, 1]
    assert chunk.timestamps_ms() == [1000, 1001]


def test_the_next_offset_is_after_the_last_record_even_where_offsets_have_gaps():
    chunk = Chunk("t", 0, [MemoryRecord(b"a", offset_=5), MemoryRecord(b"b", offset_=9)])
    assert chunk.next_offset == 10


def test_an_empty_chunk_is_refused():
    with pytest.raises(ValueError, match=r"t\[2\] needs at least one record"):
        Chunk("t", 2, [])


def test_a_fetch_is_grouped_by_partition_and_keeps_the_order():
    fetched = [
        MemoryRecord(b"", topic_=t, partition_=p, offset_=o)
        for t, p, o in [("a", 0, 1), ("a", 1, 7), ("a", 0, 2), ("b", 0, 3)]
    ]
    grouped = by_partition(fetched)
    assert {p: [r.offset() for r in records] for p, records in grouped.items()} == {
        Partition("a", 0): [1, 2],
        Partition("a", 1): [7],
        Partition("b", 0): [3],
    }


def test_the_last_header_of_a_name_counts():
    record = MemoryRecord(b"", headers_=[("traceparent", b"1"), ("x", b"2"), ("traceparent", b"3")])
    assert header(record, "traceparent") == b"3"
    assert header(record, "missing") is None
    assert header(MemoryRecord(b""), "traceparent") is None


def test_headers_of_one_name_are_a_column() -> None:
    """Each record's last header of that name; no column at all where no record has one."""
    trace, other = ("traceparent", b"1"), ("ce_type", b"x")
    carried: list[list[tuple[str, bytes]] | None] = [[trace], [other], None, [("traceparent", b"0"), other, trace]]
    records = [MemoryRecord(b"", headers_=headers) for headers in carried]
    assert headers_named(records, "traceparent") == [[trace], None, None, [trace]]
    assert headers_named(records, "tracestate") is None


def test_a_record_without_a_timestamp_has_zero():
    assert timestamp_ms(MemoryRecord(b"")) == 0
    assert timestamp_ms(MemoryRecord(b"", timestamp_ms=12)) == 12
