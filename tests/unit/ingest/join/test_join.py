"""The join: what it promises over any log, any interleaving, any commit and any crash."""

from itertools import accumulate

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.ingest.join.clock import EARLIEST_MS
from services.ingest.join.service import EVENTS, LABELS, SIDES, Record, Resume, Rules
from tests.unit.ingest.join.join_kit import (
    T0,
    WINDOW,
    Run,
    Step,
    join,
    log,
    offsets,
    pairs_by_definition,
    small_blocks,
)  # fmt: skip


def test_a_label_after_its_event_makes_a_pair() -> None:
    joined = join(rebuild=False)
    assert joined.feed(EVENTS, log((0, "a"), (1, "b"))).pairs == []
    assert offsets(joined.feed(LABELS, log((5, "b"))).pairs) == [("b", 1, 0)]
    assert joined.waiting(EVENTS) == 1


def test_a_label_before_its_event_makes_a_pair() -> None:
    joined = join(rebuild=False)
    joined.feed(LABELS, log((5, "a")))
    assert offsets(joined.feed(EVENTS, log((6, "a"))).pairs) == [("a", 0, 0)]


def test_a_label_more_than_a_window_away_makes_none() -> None:
    for away, found in ((WINDOW, 1), (WINDOW + 1, 0), (-WINDOW, 1), (-WINDOW - 1, 0)):
        joined = join(rebuild=False)
        joined.feed(EVENTS, log((100, "a")))
        assert len(joined.feed(LABELS, log((100 + away, "a"))).pairs) == found


def test_the_first_of_duplicates_wins_and_the_rest_are_counted() -> None:
    joined = join(rebuild=False)
    joined.feed(EVENTS, log((0, "a"), (1, "a")))
    pairs = joined.feed(LABELS, log((2, "a"), (3, "a"))).pairs
    assert offsets(pairs) == [("a", 0, 0)]
    assert joined.counts.duplicates == 2


def test_the_empty_text_is_a_key_like_others() -> None:
    joined = join(rebuild=False)
    joined.feed(EVENTS, log((0, ""), (1, "!")))
    assert offsets(joined.feed(LABELS, log((2, ""))).pairs) == [("", 0, 0)]


def test_a_record_expires_by_the_other_logs_low_time_and_leaves_memory() -> None:
    with small_blocks(1, 1):
        joined = join(rebuild=False)
        joined.feed(EVENTS, log((0, "a")))
        joined.feed(LABELS, log((WINDOW + WINDOW // 4, "b")))
        assert joined.counts.expired == [1, 0]
        assert joined.waiting(EVENTS) == 0
        assert joined.seen(EVENTS) == 1
        joined.feed(EVENTS, [Record(1, T0 + 3 * WINDOW, b"c")])
        assert joined.seen(EVENTS) == 1


def test_an_undecodable_record_is_handed_out_once_and_its_offset_passes() -> None:
    joined = join(rebuild=False)
    output = joined.feed(EVENTS, log((0, "a"), (1, "!")))
    assert [(r.side, r.record.offset) for r in output.rejected] == [(EVENTS, 1)]
    assert joined.resume(EVENTS).offset == 2


def test_the_state_is_bounded_in_bytes_and_what_is_given_up_is_counted() -> None:
    joined = join(rebuild=False, max_bytes=60_000)
    for n in range(200):  # fewer than it takes for a low time, so nothing leaves by itself
        joined.feed(EVENTS, [Record(n, T0 + n, b"%d" % n)])
    assert sum(map(joined.bytes_held, SIDES)) <= 60_000
    assert joined.counts.evicted + joined.waiting(EVENTS) == 200
    assert joined.counts.forgotten + joined.seen(EVENTS) == 200
    assert joined.counts.evicted > 0
    assert offsets(joined.feed(LABELS, log((199, "199"))).pairs) == [("199", 199, 0)]


def test_a_rebuild_holds_one_side_until_the_other_is_there_and_commits_nothing_meanwhile() -> None:
    joined = join(Resume(1), Resume(1))
    output = joined.feed(EVENTS, log((0, "a"), (6, "b")))
    assert output.pairs == []
    assert joined.resume(EVENTS) == Resume(1)
    assert not joined.wants(EVENTS)
    assert joined.wants(LABELS)
    output = joined.feed(LABELS, log((5, "a"), (7, "b")))
    assert offsets(output.pairs) == [("b", 1, 1)]
    assert (joined.resume(EVENTS).offset, joined.resume(LABELS).offset) == (2, 2)


def test_a_rebuild_ends_at_a_logs_end_even_if_its_last_records_cannot_be_seen() -> None:
    joined = join(Resume(3), Resume(0))
    joined.feed(EVENTS, log((0, "a")))
    joined.reach(LABELS, 0)
    assert joined.rebuilding
    joined.reach(EVENTS, 3)
    assert not joined.rebuilding
    assert offsets(joined.feed(LABELS, log((1, "a"))).pairs) == [("a", 0, 0)]


def test_what_an_earlier_version_committed_makes_it_read_the_whole_log() -> None:
    assert Resume(7, "1800000000000").begin == 0


def test_a_rebuild_begins_where_the_state_does_and_not_at_the_logs_beginning() -> None:
    with small_blocks(4, 2):
        events, labels = (log(*((n * 10, f"{n}") for n in range(200))) for _ in SIDES)
        run = Run((events, labels))
        for _ in range(20):
            run.step(Step(EVENTS, 10))
            run.step(Step(LABELS, 10, commit=True))
        assert [150 < resume.begin < 200 for resume in run.committed] == [True, True]
        assert all(len(resume.state) < 3000 for resume in run.committed)


STEPS = st.lists(st.builds(Step, st.integers(0, 1), st.integers(1, 5), st.booleans(), st.booleans()), max_size=60)
WILD = st.sampled_from([None, None, None, None, None, None, -T0, -1 - T0, -5_000, -300, 300, 5_000, 3_600_000, T0])
"""In place of a record's time, now and then: zero, negative, behind, ahead, far ahead."""
RECORDS = st.lists(
    st.tuples(st.integers(-12, 25), st.sampled_from(["a", "b", "c", "d", "e", "!", "a=1", "a=2", "b=1"]), WILD),
    max_size=40,
)
TO_THE_END = [Step(side, 5, commit=True) for side in SIDES * 20]


def drifting(raw: list[tuple[int, str, int | None]]) -> list[Record]:
    """Timestamps that mostly rise, by steps of up to 25 and back by up to 12, some of them wild."""
    times = accumulate((step for step, _, _ in raw), lambda t, step: max(0, t + step), initial=0)
    return log(*((t if wild is None else t + wild, key) for t, (_, key, wild) in zip(times, raw, strict=False)))


def begins_without_time(records: list[Record]) -> bool:
    """Such records can be joined by their key alone, and it depends on memory for how long."""
    known = [record.timestamp_ms >= EARLIEST_MS for record in records]
    return any(known) and not known[0]


@settings(max_examples=60, deadline=None)
@given(RECORDS, RECORDS, STEPS, st.sampled_from([(256, 16), (3, 2), (1, 1)]))
def test_every_pair_is_emitted_exactly_once_whatever_the_timestamps_the_interleaving_the_commits_and_the_crashes(
    raw_events: list[tuple[int, str, int | None]], raw_labels: list[tuple[int, str, int | None]], steps: list[Step],
    blocks: tuple[int, int],
) -> None:  # fmt: skip
    with small_blocks(*blocks):
        run = Run((drifting(raw_events), drifting(raw_labels)))
        assume(not any(begins_without_time(log) for log in run.logs))
        for step in steps + TO_THE_END:
            run.step(step)
        assert sorted(run.pairs) == sorted(pairs_by_definition(*run.logs))


def test_what_is_read_again_reaches_back_far_enough_to_tell_a_duplicate_that_could_still_match() -> None:
    with small_blocks(1, 1):
        events, labels = log((0, "a"), (80, "a"), (120, "b")), log((120, "z"), (120, "a"))
        assert pairs_by_definition(events, labels) == []
        run = Run((events, labels))
        for step in [Step(EVENTS, 3, commit=True), Step(LABELS, 1, commit=True, crash=True), *TO_THE_END]:
            run.step(step)
        assert run.pairs == []


ALL = Rules(WINDOW, out_of_bounds="dead_letter", late="dead_letter", defaults=True, corrections=True)
"""All that may make an example or a dead letter."""


@settings(max_examples=60, deadline=None)
@given(RECORDS, RECORDS, STEPS, st.sampled_from([(3, 2), (1, 1)]))
def test_what_was_committed_is_the_same_with_crashes_as_without_idle_logs_defaults_and_letters_included(
    raw_events: list[tuple[int, str, int | None]], raw_labels: list[tuple[int, str, int | None]], steps: list[Step],
    blocks: tuple[int, int],
) -> None:  # fmt: skip
    with small_blocks(*blocks):
        logs, rules = (drifting(raw_events), drifting(raw_labels)), ALL
        assume(not any(begins_without_time(log) for log in logs))
        steady, crashing = Run(logs, rules), Run(logs, rules)
        ends = [0, 0]
        for step in steps + TO_THE_END:
            ends[step.side] = min(len(logs[step.side]), ends[step.side] + step.count)
            for run in (steady, crashing):
                run.step(Step(step.side, step.count), ends)
                run.raise_low(ends)
                run.commit()
            assert crashing.committed == steady.committed
            if step.crash:
                crashing.crash()
                crashing.rebuild()
                assert [crashing.join.waiting(s) for s in SIDES] == [steady.join.waiting(s) for s in SIDES]
        assert sorted(crashing.pairs) == sorted(steady.pairs)
        assert sorted(crashing.corrected) == sorted(steady.corrected)
        assert sorted(crashing.letters) == sorted(steady.letters)
