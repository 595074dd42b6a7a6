"""Offsets in a few bytes: what was seen, twice, or passed over."""

from hypothesis import given
from hypothesis import strategies as st

from services.monitor.intervals import OffsetSet, SinkAudit


@given(st.lists(st.integers(0, 60)))
def test_it_is_a_set_whatever_the_order(offsets: list[int]) -> None:
    ours, truth = OffsetSet(), set()
    for offset in offsets:
        assert ours.add(offset) is (offset not in truth)
        truth.add(offset)
    assert len(ours) == len(truth)
    assert [o for o in range(62) if o in ours] == sorted(truth)
    assert ours.intervals == sorted(ours.intervals)
    assert all(end < start for (_, end), (start, _) in zip(ours.intervals, ours.intervals[1:], strict=False))


@given(st.sets(st.integers(0, 60)), st.integers(0, 60), st.integers(0, 60))
def test_counting_a_range(offsets: set[int], low: int, high: int) -> None:
    ours = OffsetSet()
    for offset in offsets:
        ours.add(offset)
    assert ours.count(low, high) == sum(low <= o < high for o in offsets)


def test_a_partition_read_in_order_is_one_interval() -> None:
    ours = OffsetSet()
    for offset in range(7, 10_000):
        ours.add(offset)
    assert ours.intervals == [(7, 10_000)]


def test_every_event_predicted_once() -> None:
    audit = SinkAudit()
    for offset in range(5):
        audit.event(0, offset)
        audit.prediction(0, offset)
    assert (audit.duplicates, audit.missing, audit.unpredicted) == (0, 0, 0)


def test_a_second_prediction_of_an_event_is_a_duplicate() -> None:
    audit = SinkAudit()
    audit.event(0, 0)
    assert audit.prediction(0, 0)
    assert not audit.prediction(0, 0)
    assert audit.prediction(1, 0), "another partition's offset is another event"
    assert audit.duplicates == 1


def test_an_event_passed_over_is_missing_and_one_ahead_is_only_waiting() -> None:
    audit = SinkAudit()
    for offset in range(6):
        audit.event(0, offset)
    for offset in (0, 1, 3):
        audit.prediction(0, offset)
    assert audit.missing == 1
    assert audit.unpredicted == 3


def test_a_dead_letter_answers_for_its_event() -> None:
    audit = SinkAudit()
    for offset in range(3):
        audit.event(0, offset)
    audit.prediction(0, 0)
    audit.dead_letter(0, 1)
    audit.prediction(0, 2)
    assert (audit.duplicates, audit.missing, audit.unpredicted) == (0, 0, 0)


def test_predictions_of_events_older_than_what_was_read_do_not_count() -> None:
    audit = SinkAudit()
    audit.prediction(0, 3)
    for offset in range(10, 13):
        audit.event(0, offset)
    audit.prediction(0, 10)
    assert audit.missing == 0
    assert audit.unpredicted == 2


def test_offsets_that_hold_no_event_are_not_missing() -> None:
    """A transactional producer's markers take offsets of the events' topic."""
    audit = SinkAudit()
    for offset in (0, 1, 3, 4):
        audit.event(0, offset)
        audit.prediction(0, offset)
    assert audit.missing == 0
