"""Nothing that was known when a model was trained was still to come when it is tested."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime.errors import ConfigError
from services.trainer.offline.parts import split


class Some(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.label_ms)


def examples(label_ms: list[int], waits: list[int]) -> Any:
    labels = np.array(sorted(label_ms))
    return Some(label_ms=labels, event_ms=np.maximum(labels - np.resize(waits, len(labels)), 1))


@given(
    st.lists(st.integers(1_000, 100_000), min_size=3, max_size=300),
    st.lists(st.integers(0, 50_000), min_size=1, max_size=20),
    st.floats(0, 0.4),
    st.floats(0, 0.4),
)
def test_parts_do_not_overlap_and_nothing_leaks(
    label_ms: list[int], waits: list[int], validation: float, test: float
) -> None:
    all_of = examples(label_ms, waits)
    parts = split(all_of, validation, test)
    together = np.concatenate([parts.train, parts.validation, parts.test])
    assert len(np.unique(together)) == len(together) == len(all_of) - parts.purged
    for before, part in ((parts.train, parts.validation), (parts.train, parts.test), (parts.validation, parts.test)):
        if len(before) and len(part):
            assert all_of.event_ms[part].min() >= all_of.label_ms[before].max()


def test_events_without_times_are_all_kept() -> None:
    all_of = Some(label_ms=np.arange(100), event_ms=np.zeros(100, np.int64))
    parts = split(all_of, 0.2, 0.1)
    assert (len(parts.train), len(parts.validation), len(parts.test), parts.purged) == (70, 20, 10, 0)


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(ConfigError, match="leave none to train on"):
        split(examples([1, 2], [0]), 0.45, 0.5)
