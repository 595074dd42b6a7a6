"""Records of several partitions in the order of time."""

from services.monitor.merge import TimeMerge

A, B = ("events", 0), ("labels", 0)


def test_nothing_goes_on_until_every_lane_has_spoken() -> None:
    merge: TimeMerge[str] = TimeMerge([A, B])
    merge.put(A, 1.0, "event")
    assert list(merge.ready()) == []
    merge.put(B, 2.0, "label")
    assert list(merge.ready()) == ["event"]


def test_a_lane_at_its_end_holds_nothing_back() -> None:
    merge: TimeMerge[str] = TimeMerge([A, B])
    merge.put(A, 1.0, "first")
    merge.put(A, 2.0, "second")
    merge.at_end(B)
    assert list(merge.ready()) == ["first", "second"]


def test_a_lane_that_goes_on_holds_back_again() -> None:
    merge: TimeMerge[str] = TimeMerge([A, B])
    merge.at_end(B)
    merge.put(B, 1.0, "label")
    merge.put(A, 5.0, "event")
    assert list(merge.ready()) == ["label"]


def test_a_backlog_read_lane_by_lane_comes_out_by_time_and_ties_by_arrival() -> None:
    merge: TimeMerge[str] = TimeMerge([A, B])
    for at in (1.0, 3.0, 5.0):
        merge.put(A, at, f"event {at:.0f}")
    for at in (2.0, 3.0, 9.0):
        merge.put(B, at, f"label {at:.0f}")
    merge.at_end(A)
    assert list(merge.ready()) == ["event 1", "label 2", "event 3", "label 3", "event 5", "label 9"]


def test_more_than_the_limit_is_never_held() -> None:
    merge: TimeMerge[int] = TimeMerge([A, B], limit=2)
    for i in range(5):
        merge.put(A, float(i), i)
    assert list(merge.ready()) == [0, 1, 2]
    assert len(merge) == 2
