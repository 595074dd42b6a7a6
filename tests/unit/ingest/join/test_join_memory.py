"""The join's memory is flat over many windows, is what it says, and stays within its bound."""

from benchmarks.join.alone import memory

MIB = 1 << 20


def test_resident_memory_is_flat_once_the_state_is_full() -> None:
    found = list(memory(windows=10, per_s=10_000, window_s=2))
    full, last = found[5], found[-1]
    assert (last.waiting, last.keys) == (full.waiting, full.keys)
    assert last.resident - full.resident < 4 * MIB + full.held // 10


def test_a_state_that_may_take_less_than_it_needs_stays_within_its_bound() -> None:
    unbounded = max(m.held for m in memory(windows=4, per_s=10_000, window_s=2))
    found = list(memory(windows=8, per_s=10_000, window_s=2, max_bytes=unbounded // 2))
    assert max(m.held for m in found) <= unbounded // 2
    assert found[-1].resident - found[3].resident < 4 * MIB
