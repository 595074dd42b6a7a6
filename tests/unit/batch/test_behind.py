"""Parts that are written while the next ones are predicted: all of them, in order, and no half one."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, cast

import pytest

from headrace.batch.engines.behind import written_behind
from headrace.batch.engines.runner import PartRunner
from tests.patience import WAIT_S

BATCHES = 200  # more than may wait


class Runner:
    """Parts of numbers; `at` is called before each batch is made, `disk` before each is written."""

    def __init__(self) -> None:
        self.whole: dict[int, list[int]] = {}
        self.begun: list[int] = []
        self.at: Callable[[int, int], None] = lambda *_: None
        self.disk: Callable[[int, int], None] = lambda *_: None

    def predicted(self, part: int, on_rows: Callable[[int, int], None]) -> Iterator[int]:
        for n in range(BATCHES):
            self.at(part, n)
            yield n
            on_rows(1, 0)

    def write(self, part: int, predicted: Iterator[int]) -> int:
        self.begun.append(part)
        rows = []
        for n in predicted:
            self.disk(part, n)
            rows.append(n)
        self.whole[part] = rows
        return part


def written(runner: Runner, parts: range, on_rows: Callable[[int, int], None] = lambda *_: None) -> Any:
    return written_behind(cast("PartRunner", runner), parts, on_rows)


def _fail(part: int, n: int, error: Exception) -> Callable[[int, int], None]:
    def at(p: int, m: int) -> None:
        if (p, m) == (part, n):
            raise error

    return at


def test_every_part_is_whole_and_yielded_in_order() -> None:
    runner, rows = Runner(), list[int]()

    assert list(written(runner, range(4), lambda read, _: rows.append(read))) == [0, 1, 2, 3]
    assert runner.whole == {part: list(range(BATCHES)) for part in range(4)}
    assert len(rows) == 4 * BATCHES


def test_a_part_is_predicted_while_the_one_before_is_written() -> None:
    runner, second = Runner(), threading.Event()
    runner.at = lambda part, _: second.set() if part == 1 else None
    runner.disk = lambda part, n: None if (part, n) != (0, BATCHES - 1) else _wait(second)

    assert list(written(runner, range(2))) == [0, 1]


def _wait(event: threading.Event) -> None:
    assert event.wait(WAIT_S)


@pytest.mark.parametrize(("part", "batch"), [(0, 0), (1, 3), (2, BATCHES - 1)])
def test_what_cannot_be_predicted_ends_it_and_leaves_only_whole_parts(part: int, batch: int) -> None:
    runner, done = Runner(), list[int]()
    runner.at = _fail(part, batch, ValueError("this row"))

    with pytest.raises(ValueError, match="this row"):
        done.extend(written(runner, range(4)))
    assert part not in runner.whole
    assert all(rows == list(range(BATCHES)) for rows in runner.whole.values())
    assert set(done) <= set(runner.whole) == set(range(part))


@pytest.mark.parametrize(("part", "batch"), [(0, 0), (1, 3), (2, BATCHES - 1)])
def test_what_cannot_be_written_ends_it(part: int, batch: int) -> None:
    runner = Runner()
    runner.disk = _fail(part, batch, OSError("the disk is full"))

    with pytest.raises(OSError, match="the disk is full"):
        list(written(runner, range(4)))
    assert part not in runner.whole


def test_whoever_stops_taking_parts_leaves_no_half_one() -> None:
    runner = Runner()
    with closing(written(runner, range(4))) as parts:
        next(parts)

    assert sorted(runner.whole) == sorted(runner.begun)
    assert all(rows == list(range(BATCHES)) for rows in runner.whole.values())
