"""Labels that are late, come twice, contradict each other or never come: the same examples whatever happens."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.ingest.join.service import EVENTS, LABELS, SIDES, Record, Rules, UnmatchedError
from services.ingest.join.state.disk import Disk
from tests.unit.ingest.join.join_kit import (
    NO_LABEL,
    T0,
    WINDOW,
    Run,
    Step,
    corrections_by_definition,
    firsts_by_definition,
    join,
    log,
    offsets,
    pairs_by_definition,
    small_blocks,
)
from tests.unit.ingest.join.test_join import ALL, RECORDS, STEPS, TO_THE_END, begins_without_time, drifting

LATER = WINDOW + WINDOW // 4
SPILL = Path(tempfile.gettempdir())
CORRECTED = Rules(WINDOW, corrections=True)


def test_an_event_whose_window_closes_without_a_label_makes_a_pair_without_one_once() -> None:
    with small_blocks(1, 1):
        joined = join(rules=Rules(WINDOW, defaults=True), rebuild=False)
        joined.feed(EVENTS, log((0, "a"), (1, "b")))
        assert offsets(joined.feed(LABELS, log((2, "b"))).pairs) == [("b", 1, 0)]
        assert offsets(joined.feed(LABELS, [Record(1, T0 + LATER, b"x")]).pairs) == [("a", 0, NO_LABEL)]
        assert joined.feed(LABELS, [Record(2, T0 + 2 * LATER, b"y")]).pairs == []
        assert joined.counts.defaults == 1


def test_a_label_that_comes_after_its_event_got_the_default_makes_no_second_example() -> None:
    with small_blocks(1, 1):
        rules = Rules(WINDOW, defaults=True, late="dead_letter")
        joined = join(rules=rules, rebuild=False)
        joined.feed(EVENTS, log((0, "a")))
        assert len(joined.feed(LABELS, log((LATER, "a"))).pairs) == 1
        output = joined.feed(EVENTS, [Record(1, T0 + 3 * WINDOW, b"z")])
        assert output.pairs == []
        assert [(r.side, r.record.offset, type(r.error)) for r in output.rejected] == [(LABELS, 0, UnmatchedError)]
        assert "'a'" in str(output.rejected[0].error)


def test_a_late_label_is_only_counted_by_default() -> None:
    with small_blocks(1, 1):
        joined = join(rebuild=False)
        joined.feed(LABELS, log((0, "a")))
        assert joined.feed(EVENTS, log((LATER, "b"))).rejected == []
        assert joined.counts.expired == [0, 1]


@pytest.mark.parametrize("first", SIDES)
def test_a_label_with_another_value_corrects_and_one_with_the_same_does_not(first: int) -> None:
    joined = join(rules=CORRECTED, rebuild=False)
    logs = {EVENTS: log((0, "a")), LABELS: log((1, "a=1"), (2, "a=1"), (3, "a=2"), (4, "a=2"), (5, "a=1"))}
    pairs = joined.feed(first, logs[first]).pairs + joined.feed(1 - first, logs[1 - first]).pairs
    assert [(*found, p.corrected) for found, p in zip(offsets(pairs), pairs, strict=True)] == [
        ("a", 0, 0, False), ("a", 0, 2, True), ("a", 0, 4, True),
    ]  # fmt: skip
    assert (joined.counts.matched, joined.counts.corrected, joined.counts.duplicates) == (1, 2, 4)


def test_a_correction_after_the_window_of_its_event_makes_nothing() -> None:
    joined = join(rules=CORRECTED, rebuild=False)
    joined.feed(EVENTS, log((0, "a")))
    pairs = joined.feed(LABELS, log((WINDOW, "a=1"), (WINDOW + 1, "a=2"))).pairs
    assert offsets(pairs) == [("a", 0, 0)]


def test_events_with_a_label_leave_memory_when_no_correction_can_come() -> None:
    with small_blocks(1, 1):
        joined = join(rules=CORRECTED, rebuild=False)
        joined.feed(EVENTS, log((0, "a")))
        held = joined.bytes_held(EVENTS)
        joined.feed(LABELS, log((0, "a=1")))
        assert joined.bytes_held(EVENTS) > held
        joined.feed(LABELS, [Record(1, T0 + LATER, b"b")])
        assert joined.bytes_held(EVENTS) < held


def test_a_memory_that_is_full_gives_up_events_that_could_be_corrected() -> None:
    joined = join(rules=CORRECTED, rebuild=False, max_bytes=60_000)
    for n in range(200):
        joined.feed(EVENTS, [Record(n, T0 + n, b"%d" % n)])
        joined.feed(LABELS, [Record(n, T0 + n, b"%d" % n)])
    assert sum(map(joined.bytes_held, SIDES)) <= 60_000
    assert joined.counts.matched == 200


@settings(max_examples=80, deadline=None)
@given(RECORDS, RECORDS, STEPS, st.sampled_from([(256, 16), (3, 2), (1, 1)]), st.booleans())
def test_examples_are_as_defined_whatever_the_interleaving_the_commits_and_the_crashes(
    raw_events: list[tuple[int, str, int | None]], raw_labels: list[tuple[int, str, int | None]], steps: list[Step],
    blocks: tuple[int, int], spilling: bool,
) -> None:  # fmt: skip
    with small_blocks(*blocks):
        disk = Disk(SPILL, 1 << 20) if spilling else None
        run = Run((drifting(raw_events), drifting(raw_labels)), ALL, disk)
        assume(not any(begins_without_time(log) for log in run.logs))
        for step in steps + TO_THE_END:
            run.step(step)
        wanted = pairs_by_definition(*run.logs)
        defaults = [pair for pair in run.pairs if pair[2] == NO_LABEL]
        assert sorted(pair for pair in run.pairs if pair[2] != NO_LABEL) == sorted(wanted)
        assert sorted(run.corrected) == sorted(corrections_by_definition(*run.logs))
        matched = [[event for _, event, _ in wanted], [label for _, _, label in wanted]]
        expired = [
            [event for _, event, _ in defaults],
            [at for side, at in run.letters if side == LABELS and run.logs[LABELS][at].value != b"!"],
        ]
        for (
            side
        ) in SIDES:  # each record that is no duplicate is joined, has expired or waits, and only one of the three
            gone = matched[side] + expired[side]
            assert len(gone) == len(set(gone))
            firsts = {offset for _, offset, _ in firsts_by_definition(run.logs[side], WINDOW)}
            assert firsts >= set(gone)
            assert len(firsts) - len(gone) == run.join.waiting(side)
