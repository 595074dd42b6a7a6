"""Batches: the same log gives the same batches, however it was fetched, and a growing log's can be made again."""

from itertools import accumulate
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.batches import STALL_S, Batcher, Item, merged


def item(partition: int, offset: int, label_ms: int) -> Item:
    return Item(label_ms, partition, offset, None)  # type: ignore[arg-type]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


LOGS = st.dictionaries(st.integers(0, 3), st.lists(st.integers(-5, 20), max_size=30), min_size=1)


def logs_of(raw: dict[int, list[int]]) -> dict[int, list[Item]]:
    return {p: [item(p, o, ms) for o, ms in enumerate(accumulate(steps))] for p, steps in raw.items()}


def batches_of(logs: dict[int, list[Item]], size: int, fetches: list[tuple[int, int]]) -> list[Any]:
    """All batches, with the log fetched in these pieces, and then whole."""
    clock = Clock()
    batcher = Batcher(dict.fromkeys(logs, 0), size, 1.0, clock)
    read = dict.fromkeys(logs, 0)
    taken = []
    for partition, count in [*fetches, *((p, 1000) for p in logs)]:
        if partition not in logs:
            continue
        piece = logs[partition][read[partition] : read[partition] + count]
        read[partition] += len(piece)
        batcher.add(partition, piece, read[partition])
        if read[partition] == len(logs[partition]):
            batcher.at_end(partition, read[partition])
        while (batch := batcher.take()) is not None:
            taken.append(batch)
    while (batch := batcher.take(partial=True)) is not None:
        taken.append(batch)
    return taken


@settings(max_examples=150, deadline=None)
@given(LOGS, st.integers(1, 8), st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=20))
def test_on_a_log_that_does_not_grow_batches_do_not_depend_on_how_it_was_fetched(
    raw: dict[int, list[int]], size: int, fetches: list[tuple[int, int]]
) -> None:
    logs = logs_of(raw)
    batches = batches_of(logs, size, fetches)
    assert batches == batches_of(logs, size, [])
    assert sorted(i[:3] for b in batches for i in b.items) == sorted(i[:3] for log in logs.values() for i in log)
    assert all(len(b.items) == size for b in batches[:-1])


@settings(max_examples=150, deadline=None)
@given(LOGS, st.integers(1, 8), st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=20))
def test_the_ends_that_were_written_down_make_the_same_batches_again(
    raw: dict[int, list[int]], size: int, fetches: list[tuple[int, int]]
) -> None:
    logs, clock = logs_of(raw), Clock()
    batcher, read = Batcher(dict.fromkeys(logs, 0), size, 1.0, clock), dict.fromkeys(logs, 0)
    start = dict.fromkeys(logs, 0)
    for partition, count in fetches:
        if partition in logs:
            piece = logs[partition][read[partition] : read[partition] + count]
            read[partition] += len(piece)
            batcher.add(partition, piece, read[partition])
        batch = batcher.take(partial=True)
        if batch is not None:
            again = merged({p: log[start[p] : batch.ends[p]] for p, log in logs.items()})
            assert again == batch.items
            start = batch.ends


def test_a_partial_batch_waits_until_it_is_due() -> None:
    clock = Clock()
    batcher = Batcher({0: 0}, 10, 1.0, clock)
    batcher.add(0, [item(0, 0, 5)], 1)
    batcher.at_end(0, 1)
    assert batcher.take() is None
    assert batcher.due_in() == 1.0
    clock.now = 1.0
    batch = batcher.take()
    assert batch is not None
    assert batch.ends == {0: 1}
    assert batcher.due_in() == float("inf")


def test_a_full_batch_waits_for_a_partition_whose_next_examples_are_not_known_yet_but_not_for_ever() -> None:
    clock = Clock()
    batcher = Batcher({0: 0, 1: 0}, 2, 1.0, clock)
    batcher.add(0, [item(0, 0, 5), item(0, 1, 6)], 2)
    assert batcher.take() is None
    clock.now = 1.0 + STALL_S
    batch = batcher.take()
    assert batch is not None
    assert [i.offset for i in batch.items] == [0, 1]


def test_positions_pass_what_could_not_be_decoded() -> None:
    batcher = Batcher({0: 3}, 2, 1.0, Clock())
    batcher.add(0, [], 5)
    assert batcher.positions == {0: 5}
    batcher.add(0, [item(0, 6, 1)], 8)
    assert batcher.positions == {0: 5}
    assert batcher.take(partial=True) is not None
    assert batcher.positions == {0: 8}
