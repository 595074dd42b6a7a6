"""The window of recent examples: what it holds and samples is a function of offsets, seed and examples learned."""

from types import SimpleNamespace
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.batches import Item
from services.trainer.learning.window import ReplayWindow


def item(partition: int, offset: int, label_ms: int) -> Item:
    example: Any = SimpleNamespace(label=(partition, offset), event=None, importance=1.0 + offset % 3)
    return Item(label_ms, partition, offset, example)


def features(items: list[Item]) -> torch.Tensor:
    return torch.tensor([[float(i.partition), float(i.offset)] for i in items])


def add(window: ReplayWindow, items: list[Item]) -> None:
    window.add(items, features(items))


def test_of_more_than_its_size_the_examples_with_the_oldest_labels_go() -> None:
    window = ReplayWindow(3, seed=0)
    add(window, [item(0, 0, 10), item(0, 1, 30), item(1, 0, 20)])
    add(window, [item(1, 1, 40)])
    assert len(window) == 3
    assert window.first_offsets == {0: 1, 1: 0}


def test_a_sample_has_each_label_with_its_own_features() -> None:
    window = ReplayWindow(100, seed=3)
    for start in range(0, 500, 20):
        add(window, [item(o % 3, o, o) for o in range(start, start + 20)])
    rows, labels, weights = window.sample(64, 500, 0)
    assert rows.tolist() == [[float(p), float(o)] for p, o in labels]
    assert weights == [1.0 + o % 3 for _, o in labels]
    assert all(offset >= 400 for _, offset in labels)
    assert len({offset for _, offset in labels}) > 30


def test_samples_differ_by_examples_learned_turn_and_seed_and_by_nothing_else() -> None:
    def labels(seed: int, learned: int, turn: int) -> list[Any]:
        window = ReplayWindow(50, seed)
        add(window, [item(0, o, o) for o in range(50)])
        return window.sample(16, learned, turn)[1]

    assert labels(1, 2, 3) == labels(1, 2, 3)
    assert len({tuple(labels(*key)) for key in [(1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3)]}) == 4


def test_an_empty_window_and_one_with_fewer_examples_than_asked_for_give_what_they_have() -> None:
    window = ReplayWindow(8, seed=0)
    add(window, [item(0, 0, 0)])
    assert window.sample(5, 1, 0)[1] == [(0, 0)]
    window.cut(0)
    assert len(window) == 0
    assert window.first_offsets == {}


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50)), min_size=1, max_size=120),
    st.integers(1, 30),
    st.integers(1, 16),
)
def test_a_window_filled_again_from_its_first_offsets_samples_the_same(
    records: list[tuple[int, int]], size: int, batch: int
) -> None:
    next_offset = dict.fromkeys(range(3), 0)
    items = []
    for partition, label_ms in records:
        items.append(item(partition, next_offset[partition], label_ms))
        next_offset[partition] += 1
    window = ReplayWindow(size, seed=7)
    for start in range(0, len(items), batch):
        add(window, items[start : start + batch])
    assert len(window) == min(size, len(items))
    first = window.first_offsets
    held = sorted((i for i in items if i.partition in first and i.offset >= first[i.partition]), key=lambda i: i[1:3])
    assert len(held) == len(window)
    again = ReplayWindow(size, seed=7)
    add(again, held)
    left, right = window.sample(9, 11, 0), again.sample(9, 11, 0)
    assert left[1:] == right[1:]
    assert torch.equal(left[0], right[0])
    assert again.first_offsets == first
