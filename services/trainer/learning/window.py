"""The newest examples, to learn from again.

What the window holds is a function of offsets: of each partition, the good examples from a first offset to the position
of training. A checkpoint therefore keeps only the first offsets, and a trainer that resumes reads the window again from
the log. Which examples a step samples is a function of the seed and of how many examples were learned before.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from services.trainer.batches import Item


class Held(NamedTuple):
    """What the window keeps of an example, beside its features."""

    label_ms: int
    partition: int
    offset: int
    label: Any
    weight: float


class Sampled(NamedTuple):
    """A sample of n examples: features [n, ...], labels and weights."""

    features: torch.Tensor
    labels: list[Any]
    weights: list[float]


class _Partition:
    """One partition's examples in the order of offsets: rows in the pool, from `head` on."""

    def __init__(self) -> None:
        self.rows = np.empty(64, np.int64)
        self.head = self.tail = 0

    def __len__(self) -> int:
        return self.tail - self.head

    def append(self, row: int) -> None:
        if self.tail == len(self.rows):
            live = self.rows[self.head : self.tail]
            grown = np.empty(max(64, 2 * len(live)), np.int64)
            grown[: len(live)] = live
            self.rows, self.head, self.tail = grown, 0, len(live)
        self.rows[self.tail] = row
        self.tail += 1


class ReplayWindow:
    """The newest `size` examples with their features. Of more, the one with the oldest label goes.

    Args:
        size: examples held.
        seed: of the samples.
        part: of several processes with a window each, which this is: each draws differently.
    """

    def __init__(self, size: int, seed: int, part: int = 0) -> None:
        self.size, self._seed, self._part = size, seed, part
        self._features: torch.Tensor | None = None
        self._held: list[Held | None] = []
        self._free: list[int] = []
        self._partitions: dict[int, _Partition] = {}

    def __len__(self) -> int:
        return sum(map(len, self._partitions.values()))

    @property
    def first_offsets(self) -> dict[int, int]:
        """Partition → offset of its oldest example; partitions without one are left out."""
        held = {p: self._oldest(part) for p, part in sorted(self._partitions.items()) if len(part)}
        return {p: item.offset for p, item in held.items()}

    def add(self, items: Sequence[Item], features: torch.Tensor) -> None:
        """Take examples that were learned from, with their features: row i belongs to item i."""
        pool = self._pool(features)
        rows = [self._take_row() for _ in items]
        pool[torch.tensor(rows)] = features.to(pool.dtype)
        for item, row in zip(items, rows, strict=True):
            self._held[row] = Held(
                item.label_ms, item.partition, item.offset, item.example.label, item.example.importance
            )
            self._partitions.setdefault(item.partition, _Partition()).append(row)
        for _ in range(len(self) - self.size):
            self._drop_oldest()

    def cut(self, keep: int) -> None:
        """Drop all but the newest `keep` examples."""
        for _ in range(len(self) - keep):
            self._drop_oldest()

    def sample(self, count: int, learned: int, turn: int) -> Sampled:
        """Draw min(count, held) examples without order, with replacement.

        Args:
            count: how many.
            learned: examples learned from before this step.
            turn: which of the batch's steps it is.
        """
        parts = [part for _, part in sorted(self._partitions.items())]
        ends = np.cumsum([len(part) for part in parts])
        total = int(ends[-1]) if len(ends) else 0
        count = min(count, total)
        drawn = np.random.Generator(np.random.Philox(key=self._seed, counter=[learned, turn, self._part, 0])).integers(
            0, total, count
        )
        which = np.searchsorted(ends, drawn, side="right")
        rows = np.empty(count, np.int64)
        for i, part in enumerate(parts):
            mine = which == i
            rows[mine] = part.rows[part.head + drawn[mine] - (ends[i] - len(part))]
        assert self._features is not None
        held = [self._at(row) for row in rows.tolist()]
        features = self._features[torch.from_numpy(rows)]
        return Sampled(features, [one.label for one in held], [one.weight for one in held])

    def _pool(self, features: torch.Tensor) -> torch.Tensor:
        """The rows of all features; it grows up to what the window and one batch need."""
        need = len(self) + len(features)
        if self._features is None or len(self._features) < need:
            size = max(need, min(2 * need, self.size + 2 * len(features)))
            grown = torch.empty((size, *features.shape[1:]), dtype=features.dtype)
            old = 0
            if self._features is not None:
                old = len(self._features)
                grown[:old] = self._features
            self._features = grown
            self._held.extend([None] * (size - old))
            self._free.extend(range(size - 1, old - 1, -1))
        return self._features

    def _take_row(self) -> int:
        return self._free.pop()

    def _at(self, row: int) -> Held:
        held = self._held[row]
        assert held is not None
        return held

    def _oldest(self, part: _Partition) -> Held:
        return self._at(int(part.rows[part.head]))

    def _drop_oldest(self) -> None:
        held = [part for _, part in sorted(self._partitions.items()) if len(part)]
        part = min(held, key=lambda part: self._oldest(part)[:3])
        row = int(part.rows[part.head])
        part.head += 1
        self._held[row] = None
        self._free.append(row)
