"""The loop: what was asked is answered once it is durable, and what could not be made durable was never answered."""

from pathlib import Path

import pytest

from headrace.runtime.errors import DependencyError
from services.labelling.errors import ConflictError, UnavailableError
from tests.unit.labelling.test_desk import world


def test_an_answer_comes_after_the_commit_that_holds_it(tmp_path: Path) -> None:
    w = world(tmp_path)
    commits = w.state.commits
    seen: list[int] = []
    future = w.loop.ask(lambda now: w.desk.lease("all", "ana", now))
    future.add_done_callback(lambda _: seen.append(w.state.commits))
    w.round()
    assert seen == [commits + 1]
    assert b'"labeller":"ana"' in w.state.records[b"toy/work/0-0"]


def test_what_cannot_be_committed_is_refused_and_ends_the_loop(tmp_path: Path) -> None:
    w = world(tmp_path)
    w.state.failing = DependencyError("the broker is away")
    future = w.loop.ask(lambda now: w.desk.lease("all", "ana", now))
    with pytest.raises(DependencyError):
        w.loop.run(lambda: False)
    with pytest.raises(UnavailableError):
        future.result(0)
    with pytest.raises(UnavailableError):
        w.loop.ask(lambda now: now).result(0)


def test_a_request_that_is_refused_holds_up_none_of_the_others(tmp_path: Path) -> None:
    w = world(tmp_path)
    bad = w.loop.ask(lambda now: w.desk.renew("0-0", "ana", now))
    good = w.loop.ask(lambda now: w.desk.lease("all", "ana", now))
    w.round()
    with pytest.raises(ConflictError):
        bad.result(0)
    assert good.result(0) is w.desk.entry("0-0")


def test_how_far_was_read_never_passes_what_still_waits(tmp_path: Path) -> None:
    """Where a process that dies here begins to read again: at the candidates that have joined no queue yet."""
    w = world(tmp_path, 0, after_s=10)
    w.round(6)
    assert w.store.positions.offsets == {"predictions": {0: 1}}
    w.come(w.predicted(0))
    w.round()
    w.come(w.predicted(1))
    w.round(6)
    assert w.store.positions.offsets == {"predictions": {0: 1}}
    w.round(5)
    assert (list(w.store.entries), w.store.positions.offsets) == (["0-0"], {"predictions": {0: 2}})


def test_followers_hear_of_changes_and_of_nothing_else(tmp_path: Path) -> None:
    w = world(tmp_path)
    heard = len(w.heard.told)
    w.round(1)
    w.round(1)
    assert len(w.heard.told) - heard <= 1
    w.loop.ask(lambda now: w.desk.lease("all", "ana", now))
    w.round(1)
    assert w.heard.told[-1]["queues"][0]["leased"] == 1
