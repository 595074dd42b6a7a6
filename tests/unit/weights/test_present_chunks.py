"""Which chunks are in place, while several threads say so."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from headrace.weights.host.present_chunks import PresentChunks
from tests.patience import WAIT_S


def test_it_says_what_is_missing_of_a_payload_whatever_was_there_before() -> None:
    present = PresentChunks(["a", "b", "c"])
    assert present.missing(["a", "x", "c", "d"]) == [1, 3]
    present.resize(4)
    assert (len(present), present.snapshot()) == (4, ["a", "b", "c", ""])
    present.mark(3, "d")
    present.forget(0)
    assert present.has(3, "d")
    assert not present.has(0, "a")
    assert not present.has(9, "a")
    present.resize(2)
    assert present.snapshot() == ["", "b"]
    assert present.holds(["", "b"])


def test_a_snapshot_does_not_change() -> None:
    present = PresentChunks(["a"])
    before = present.snapshot()
    present.mark(0, "b")
    assert before == ["a"]


class Watched(list[str]):
    """Digests whose writer is made to wait in the middle of a change, while others ask."""

    def __init__(self, digests: list[str]) -> None:
        super().__init__(digests)
        self.changing, self.go_on = threading.Event(), threading.Event()

    def __delitem__(self, at: Any) -> None:
        super().__delitem__(at)
        self.changing.set()
        self.go_on.wait(WAIT_S)


def test_nobody_sees_a_change_half_done() -> None:
    present = PresentChunks(["a", "b"])
    present._digests = watched = Watched(["a", "b"])
    with ThreadPoolExecutor(2) as pool:
        resized = pool.submit(present.resize, 4)
        assert watched.changing.wait(WAIT_S)
        asked = pool.submit(present.snapshot)
        with pytest.raises(TimeoutError):
            asked.result(0.05)
        watched.go_on.set()
        assert asked.result(WAIT_S) == ["a", "b", "", ""]
        resized.result(WAIT_S)
