"""The buffer between fetching and handing out."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.streams.buffer import ChunkBuffer, Limits
from headrace.streams.chunks import Partition
from headrace.streams.memory import MemoryRecord

A, B, C = (Partition("t", n) for n in range(3))


def records(count: int, size: int = 10, first: int = 0) -> list[MemoryRecord]:
    return [MemoryRecord(b"x" * size, offset_=first + i) for i in range(count)]


def test_it_is_full_when_either_limit_is_reached():
    by_records = ChunkBuffer(Limits(records=5, bytes=10_000))
    by_records.add({A: records(4)})
    assert not by_records.full
    by_records.add({A: records(1)})
    assert by_records.full
    by_bytes = ChunkBuffer(Limits(records=1000, bytes=100))
    by_bytes.add({A: records(2, size=60)})
    assert by_bytes.full


def test_room_takes_the_mean_record_into_account():
    buffer = ChunkBuffer(Limits(records=1000, bytes=1000))
    assert buffer.room == 1000
    buffer.add({A: records(5, size=100)})
    assert buffer.room == 5


def test_what_is_not_wanted_stays():
    buffer = ChunkBuffer(Limits())
    buffer.add({A: records(2), B: records(3)})
    assert set(buffer.take({B}, 100)) == {B}
    assert buffer.records == 2


def test_a_busy_partition_does_not_starve_the_others():
    buffer = ChunkBuffer(Limits())
    buffer.add({A: records(100), B: records(1)})
    assert list(buffer.take({A, B}, 10)) == [A]
    buffer.add({A: records(100, first=100)})
    assert list(buffer.take({A, B}, 10)) == [B, A]


def test_dropped_records_are_forgotten():
    buffer = ChunkBuffer(Limits())
    buffer.add({A: records(2), B: records(3), C: records(4)})
    assert buffer.drop([A, B]) == 5
    assert (buffer.records, buffer.bytes) == (4, 40)
    assert buffer.drop() == 4
    assert (buffer.records, buffer.bytes) == (0, 0)


@given(
    st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(1, 20)), max_size=20),
    st.lists(st.tuples(st.sets(st.sampled_from([A, B, C])), st.integers(0, 30)), max_size=20),
)
def test_each_partition_comes_out_in_order_and_nothing_is_lost(adds, takes):
    buffer = ChunkBuffer(Limits())
    ends = dict.fromkeys((A, B, C), 0)
    for partition, count in adds:
        buffer.add({partition: records(count, first=ends[partition])})
        ends[partition] += count
    out: dict[Partition, list[int]] = {A: [], B: [], C: []}
    for wanted, most in [*takes, ({A, B, C}, 10_000)]:
        taken = buffer.take(wanted, most)
        assert set(taken) <= wanted
        assert sum(map(len, taken.values())) <= most
        for partition, got in taken.items():
            out[partition] += [r.offset() for r in got]
    assert out == {p: list(range(end)) for p, end in ends.items()}
    assert (buffer.records, buffer.bytes) == (0, 0)
