"""No record's timestamp harms another record's pair: whatever it says, wherever it stands, whoever is idle."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.join.clock import BLOCK, BLOCKS, START, LogClock
from services.ingest.join.service import EVENTS, LABELS, SIDES, Record
from tests.unit.ingest.join.join_kit import T0, WINDOW, Run, Step, join, small_blocks, spans_by_definition

MINUTE = 60_000
BAD = st.sampled_from([-1, 0, 1, 5_000, T0 - 86_400_000, T0 - 50 * MINUTE, T0 + 50 * MINUTE, 2 * T0, (1 << 63) - 1])
GOOD = "good"


@pytest.mark.parametrize("case", ["future_timestamp", "epoch_timestamps"])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_a_bad_clock_costs_no_pair(case: str, swapped: bool, at_once: int) -> None:
    read = json.loads((Path(__file__).parent / f"{case}.json").read_text())
    logs = [
        [Record(i, at, key.encode()) for i, (at, key) in enumerate(read[side])]
        for side in (("labels", "events") if swapped else ("events", "labels"))
    ]
    run = Run((logs[0], logs[1]), read["window_ms"])
    for _ in range(0, 101, at_once):
        for side in SIDES:
            run.step(Step(side, at_once, commit=True))
    assert sorted(key for key, _, _ in run.pairs) == sorted(f"{n}" for n in range(100))
    assert sum(run.join.counts.out_of_bounds) > 0


def test_a_record_whose_clock_is_ahead_is_joined_itself_too() -> None:
    run = Run(
        (
            [Record(n, T0 + n + (50 * MINUTE if n == 20 else 0), b"%d" % n) for n in range(40)],
            [Record(n, T0 + n + 10, b"%d" % n) for n in range(40)],
        ),
        10 * MINUTE,
    )
    for side in SIDES:
        run.step(Step(side, 40, commit=True))
    assert len(run.pairs) == 40


def test_records_after_a_pause_are_joined_from_the_first_on() -> None:
    events = [(n + (8 * 60 * MINUTE if n >= 5000 else 0), n) for n in range(5020)]
    run = Run(
        (
            [Record(n, T0 + at, b"%d" % n) for at, n in events],
            [Record(n, T0 + at + 100, b"%d" % n) for at, n in events],
        ),
        MINUTE,
    )
    for _ in range(60):
        for side in SIDES:
            run.step(Step(side, 100, commit=True))
            run.raise_low()
    assert len(run.pairs) == 5020


def test_the_low_time_takes_a_jump_only_after_most_records_of_sixteen_blocks_have_it() -> None:
    clock, ahead = LogClock(10 * MINUTE, 10 * MINUTE), 50 * MINUTE
    clock.place(range(8000), [T0 + n for n in range(8000)])
    before = clock.low
    assert T0 + 3000 < before < T0 + 4000
    burst = (BLOCKS - 2) * BLOCK
    clock.place(range(8000, 8000 + burst), [T0 + 8000 + n + ahead for n in range(burst)])
    assert clock.low < T0 + 8000
    clock.place(range(8000 + burst, 14000), [T0 + n for n in range(8000, 14000 - burst)])
    assert clock.low < T0 + 14000
    clock.place(range(14000, 20000), [T0 + n + ahead for n in range(6000)])
    assert clock.low > T0 + ahead


def test_a_slow_log_has_a_low_time_too_two_windows_behind() -> None:
    clock = LogClock(10 * MINUTE, 10 * MINUTE)
    assert clock.place(range(60), [T0 + n * 5 * MINUTE for n in range(60)]) is None
    assert T0 + 40 * 5 * MINUTE <= clock.low < T0 + 50 * 5 * MINUTE


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-8, 30), BAD | st.none()), max_size=120), st.lists(st.integers(1, 40), max_size=20),
    st.sampled_from([(256, 16), (8, 2), (2, 2), (1, 1)]), st.integers(1, 2 * WINDOW),
)  # fmt: skip
def test_times_are_as_defined_however_the_log_is_read_and_wherever_the_clock_is_resumed(
    raw: list[tuple[int, int | None]], sizes: list[int], blocks: tuple[int, int], skew: int
) -> None:
    with small_blocks(*blocks):
        at, timestamps = T0, []
        for step, bad in raw:
            at += step
            timestamps.append(at if bad is None else bad)
        found, clock, state, start = [], LogClock(WINDOW, skew), (0, START), 0
        for size in [*sizes, len(timestamps)]:
            part = timestamps[start : start + size]
            offsets = range(start, start + len(part))
            spans = clock.place(offsets, part)
            found += [(t, t) for t in part] if spans is None else [(s.low, s.high) for s in spans]
            state = clock.closed[-1] if clock.closed else state
            start += len(part)
        assert found == spans_by_definition(timestamps, WINDOW, skew)
        resumed = LogClock(WINDOW, skew, state[1])
        resumed.place(range(state[0], len(timestamps)), timestamps[state[0] :])
        assert (resumed.low, resumed.recent) == (clock.low, clock.recent)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, str, int]]:
    """(side, key, timestamp) in the order in which records are appended: good pairs, and bad records here and there.

    One of every four records of a log is bad at most; so is every record of a side, if that is what is drawn.
    """
    random_, true, history, open_ = random.Random(draw(st.integers())), 0, [], []
    bad, side_bad = draw(st.lists(BAD, min_size=1, max_size=4)), draw(st.sampled_from([None, None, 0, 1]))
    quiet = draw(st.sampled_from([None, EVENTS, LABELS]))
    since = {EVENTS: 0, LABELS: 0}
    for n in range(draw(st.integers(1, 150))):
        true += random_.choice([0, 1, 2, 5])
        open_.append((true + random_.randrange(WINDOW - 12), f"{GOOD}{n}"))
        due = sorted(label for label in open_ if label[0] <= true)
        open_ = [label for label in open_ if label[0] > true]
        for side, key in [(EVENTS, f"{GOOD}{n}"), *((LABELS, key) for _, key in due)]:
            history.append((side, key, T0 + true - random_.randrange(3)))
            since[side] += 1
            if since[side] >= 4 and side != quiet and random_.random() < 0.5:
                since[side] = 0
                history.append((side, f"bad{n}", random_.choice(bad)))
    history += [(LABELS, key, T0 + at) for at, key in sorted(open_)]
    if side_bad is None:
        return history
    return [(side, key, 0 if side == side_bad else at) for side, key, at in history]


@settings(max_examples=60, deadline=None)
@given(histories(), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1), st.integers(1, 30), st.booleans())))
def test_bad_timestamps_cost_no_good_pair_whatever_was_read_when_and_though_the_low_times_are_raised(
    history: list[tuple[int, str, int]], steps: list[tuple[int, int, int, bool]]
) -> None:
    """Blocks are of eight records, so that a quarter of bad ones, in a row, is never most of a block."""
    with small_blocks(8, 4):
        logs: tuple[list[Record], list[Record]] = ([], [])
        run = Run(logs)
        steps = [*steps, *[(10, side, 40, False) for side in SIDES * 20]]
        for appended, side, count, crash in steps:
            for at, key, timestamp in history[:appended]:
                logs[at].append(Record(len(logs[at]), timestamp, key.encode()))
            history = history[appended:]
            run.step(Step(side, count, crash=crash))
            run.raise_low()
            if not run.join.rebuilding:
                run.commit()
        wanted = sorted(r.value.decode() for r in logs[EVENTS] if r.value.startswith(GOOD.encode()))
        assert sorted(key for key, _, _ in run.pairs if key.startswith(GOOD)) == wanted


def test_an_idle_log_does_not_hold_records_of_the_other_for_ever() -> None:
    with small_blocks(1, 2):
        joined = join(rebuild=False)
        for n in range(1000):
            joined.feed(EVENTS, [Record(n, T0 + n * 10, b"%d" % n)])
            if joined.lagging() == LABELS:
                joined.raise_low(LABELS)
        assert joined.waiting(EVENTS) < 5 * WINDOW / 10
        assert joined.counts.expired[EVENTS] == 1000 - joined.waiting(EVENTS)
        assert joined.resume(LABELS).offset == 0
