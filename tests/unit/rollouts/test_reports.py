"""A model's workers by their reports."""

from typing import Any

from headrace.contracts.events_pb2 import WeightsApplied
from headrace.rollouts.reports import ReportedWorker, WorkerReports, after


def report(state: str, version: int = 0, worker: str = "w", **more: Any) -> WeightsApplied:
    return WeightsApplied(
        model="m",
        worker=worker,
        state=WeightsApplied.State.Value(state),
        version=version,
        manifest_digest=f"d{version}",
        **more,
    )


def worker_after(*reports: WeightsApplied) -> ReportedWorker:
    worker = None
    for one in reports:
        worker = after(one, worker)
    assert worker is not None
    return worker


def test_a_worker_serves_what_it_last_said_it_serves_and_not_what_it_stages_or_fails_at() -> None:
    worker = worker_after(report("JOINED", 1), report("STAGED", 2), report("FAILED", 3))
    assert (worker.version, worker.digest) == (1, "d1")
    assert worker_after(report("STAGED", 2)).version == 0
    assert worker_after(report("JOINED", 1), report("ACTIVE", 2)).version == 2
    assert worker_after(report("HEARTBEAT", 2)).version == 2


def test_a_failure_stands_until_the_worker_succeeds_and_heartbeats_do_not_hide_it() -> None:
    failed = [report("ACTIVE", 1), report("FAILED", 2, error="NaN"), report("HEARTBEAT", 1, at_us=7)]
    worker = worker_after(*failed)
    assert (worker.error, worker.event.state, worker.newest.at_us) == ("NaN", WeightsApplied.FAILED, 7)
    for success in ("STAGED", "ACTIVE", "JOINED"):
        assert worker_after(*failed, report(success, 2)).failure is None
    assert worker_after(*failed, report("LEFT", 1)).error == "NaN"


def test_those_that_left_are_not_present_until_they_come_back() -> None:
    reports = WorkerReports()
    for told in (report("ACTIVE", 1, "b"), report("ACTIVE", 1, "a"), report("LEFT", 1, "b")):
        reports.apply(told)
    assert [worker.newest.worker for worker in reports] == ["a", "b"]
    assert list(reports.present) == ["a"]
    reports.apply(report("JOINED", 0, "b"))
    assert list(reports.present) == ["a", "b"]


def test_beyond_the_limit_those_that_left_are_forgotten_first_and_then_the_longest_silent() -> None:
    reports = WorkerReports(limit=2)
    for told in (report("ACTIVE", 1, "a", at_us=1), report("ACTIVE", 1, "b", at_us=2), report("LEFT", 1, "b", at_us=3)):
        reports.apply(told)
    reports.apply(report("JOINED", 0, "c", at_us=4))
    assert list(reports.present) == ["a", "c"]
    reports.apply(report("JOINED", 0, "d", at_us=5))
    assert list(reports.present) == ["c", "d"]
