"""The join: what it promises over any log, any interleaving, any commit and any crash."""

from dataclasses import dataclass
from itertools import accumulate

from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.join.service import EVENTS, LABELS, NEVER, PairJoin, Record, Resume, reread_from

WINDOW = 10


def key_of(value: bytes) -> str:
    """A record's value is its key; "!" is undecodable."""
    if value == b"!":
        raise ValueError("not a record")
    return value.decode()


NOTHING = Resume(0)


def join(events: Resume = NOTHING, labels: Resume = NOTHING, **options: object) -> PairJoin:
    return PairJoin(WINDOW, events, labels, key_of, key_of, **options)  # type: ignore[arg-type]


def log(*records: tuple[int, str]) -> list[Record]:
    return [Record(offset, timestamp, key.encode()) for offset, (timestamp, key) in enumerate(records)]


def offsets(pairs: object) -> list[tuple[str, int, int]]:
    return [(p.key, p.event.offset, p.label.offset) for p in pairs]  # type: ignore[attr-defined]


def by_definition(events: list[Record], labels: list[Record]) -> list[tuple[str, int, int]]:
    """The pairs that join.py's docstring defines, found the slow way."""

    def firsts(records: list[Record]) -> list[tuple[int, str, int]]:
        times = list(accumulate((r.timestamp_ms for r in records), max))
        good = [(t, r.value.decode(), r.offset) for t, r in zip(times, records, strict=True) if r.value != b"!"]
        return [
            (t, key, offset)
            for i, (t, key, offset) in enumerate(good)
            if not any(k == key and t - before <= 2 * WINDOW for before, k, _ in good[:i])
        ]

    return [
        (key, event, label)
        for event_time, key, event in firsts(events)
        for label_time, label_key, label in firsts(labels)
        if key == label_key and abs(event_time - label_time) <= WINDOW
    ]


def test_a_label_after_its_event_makes_a_pair() -> None:
    joined = join(rebuild=False)
    assert joined.feed(EVENTS, log((0, "a"), (1, "b"))).pairs == []
    assert offsets(joined.feed(LABELS, log((5, "b"))).pairs) == [("b", 1, 0)]
    assert joined.waiting(EVENTS) == 1


def test_a_label_before_its_event_makes_a_pair() -> None:
    joined = join(rebuild=False)
    joined.feed(LABELS, log((5, "a")))
    assert offsets(joined.feed(EVENTS, log((6, "a"))).pairs) == [("a", 0, 0)]


def test_the_first_of_duplicates_wins_and_the_rest_are_counted() -> None:
    joined = join(rebuild=False)
    joined.feed(EVENTS, log((0, "a"), (1, "a")))
    pairs = joined.feed(LABELS, log((2, "a"), (3, "a"))).pairs
    assert offsets(pairs) == [("a", 0, 0)]
    assert joined.counts.duplicates == 2


def test_a_record_expires_by_the_other_logs_watermark_and_leaves_memory() -> None:
    joined = join(rebuild=False)
    joined.feed(EVENTS, log((0, "a")))
    joined.feed(LABELS, log((11, "b")))
    assert joined.counts.expired == [1, 0]
    assert joined.waiting(EVENTS) == 0
    joined.feed(EVENTS, [Record(1, 21, b"c")])
    assert joined.seen(EVENTS) == 1


def test_an_undecodable_record_is_handed_out_once_and_its_offset_passes() -> None:
    joined = join(rebuild=False)
    output = joined.feed(EVENTS, log((0, "a"), (1, "!")))
    assert [(r.side, r.record.offset) for r in output.rejected] == [(EVENTS, 1)]
    assert joined.resume(EVENTS) == Resume(2, 1)


def test_waiting_records_are_bounded_and_what_is_given_up_is_counted() -> None:
    joined = join(rebuild=False, max_waiting=2)
    joined.feed(EVENTS, log((0, "a"), (0, "b"), (0, "c")))
    assert joined.waiting(EVENTS) == 2
    assert joined.counts.evicted == 1


def test_a_rebuild_holds_one_side_until_the_other_is_there_and_commits_nothing_meanwhile() -> None:
    joined = join(Resume(1, 0), Resume(1, 5))
    output = joined.feed(EVENTS, log((0, "a"), (6, "b")))
    assert output.pairs == []
    assert joined.resume(EVENTS) == Resume(1, 0)
    assert not joined.wants(EVENTS)
    assert joined.wants(LABELS)
    output = joined.feed(LABELS, log((5, "a"), (7, "b")))
    assert offsets(output.pairs) == [("b", 1, 1)]
    assert (joined.resume(EVENTS), joined.resume(LABELS)) == (Resume(2, 6), Resume(2, 7))


def test_a_rebuild_ends_at_a_logs_end_even_if_its_last_records_cannot_be_seen() -> None:
    joined = join(Resume(3, 0), Resume(0))
    joined.feed(EVENTS, log((0, "a")))
    joined.reach(LABELS, 0)
    assert joined.rebuilding
    joined.reach(EVENTS, 3)
    assert not joined.rebuilding
    assert offsets(joined.feed(LABELS, log((1, "a"))).pairs) == [("a", 0, 0)]


@dataclass
class Crashing:
    """Two logs, and a run over them that commits and crashes when told to."""

    events: list[Record]
    labels: list[Record]

    def start_offset(self, side: int, at: int | None) -> int:
        """As Kafka's offsets for times: the first offset whose timestamp is not below."""
        log = (self.events, self.labels)[side]
        return next((r.offset for r in log if at is None or r.timestamp_ms >= at), len(log))

    def run(self, steps: list[tuple[int, int, bool, bool]]) -> list[tuple[str, int, int]]:
        committed, emitted = [Resume(0), Resume(0)], []
        current, positions = join(rebuild=False), [0, 0]
        pending: list[tuple[str, int, int]] = []
        for side, count, commit, crash in steps:
            log = (self.events, self.labels)[side]
            if current.wants(side):
                batch = log[positions[side] : positions[side] + count]
                positions[side] += len(batch)
                pending += offsets(current.feed(side, batch).pairs)
                if positions[side] == len(log):
                    pending += offsets(current.reach(side, len(log)).pairs)
            if commit:
                committed = [current.resume(EVENTS), current.resume(LABELS)]
                emitted += pending
                pending = []
            if crash:
                at = reread_from(committed[EVENTS], committed[LABELS], WINDOW)
                positions = [min(self.start_offset(s, at), committed[s].offset) for s in (EVENTS, LABELS)]
                current, pending = join(*committed), []
        return emitted


STEPS = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 5), st.booleans(), st.booleans()), max_size=60)
RECORDS = st.lists(st.tuples(st.integers(-4, 8), st.sampled_from(["a", "b", "c", "d", "!"])), max_size=30)


def drifting(raw: list[tuple[int, str]]) -> list[Record]:
    """Timestamps that mostly rise, by steps of up to 8 and back by up to 4."""
    times = accumulate((step for step, _ in raw), lambda t, step: max(0, t + step), initial=0)
    return log(*zip(times, (key for _, key in raw), strict=False))


@settings(max_examples=150, deadline=None)
@given(RECORDS, RECORDS, STEPS)
def test_every_pair_is_emitted_exactly_once_whatever_the_interleaving_the_commits_and_the_crashes(
    raw_events: list[tuple[int, str]], raw_labels: list[tuple[int, str]], steps: list[tuple[int, int, bool, bool]]
) -> None:
    events, labels = drifting(raw_events), drifting(raw_labels)
    to_the_end = [(side, 5, True, False) for side in (EVENTS, LABELS) * 16]
    emitted = Crashing(events, labels).run(steps + to_the_end)
    assert sorted(emitted) == sorted(by_definition(events, labels))


def test_what_is_read_again_reaches_back_far_enough_to_tell_a_duplicate_that_could_still_match() -> None:
    events, labels = log((0, "a"), (20, "a"), (30, "b")), log((30, "z"), (30, "a"))
    assert by_definition(events, labels) == []
    run = Crashing(events, labels)
    assert (
        run.run(
            [(EVENTS, 3, True, False), (LABELS, 1, True, True), *[(s, 5, True, False) for s in (EVENTS, LABELS) * 2]]
        )
        == []
    )


def test_without_a_watermark_on_either_side_everything_is_read_again() -> None:
    assert reread_from(Resume(5, 100), Resume(0, NEVER), WINDOW) is None
    assert reread_from(Resume(5, 100), Resume(7, 90), WINDOW) == 60
