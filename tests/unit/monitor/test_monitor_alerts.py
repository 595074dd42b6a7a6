"""When an alarm goes on, and when off."""

from headrace.contracts.events_pb2 import Alert
from headrace.contracts.snapshot import Worker
from services.monitor.alerts import Alarms, Errors

BAD, GOOD = 9.0, 1.0


def errors(joined: int, model: float) -> Errors:
    return Errors(joined, model, 5.0, "median")


def check(alarms: Alarms, joined: int, model: float) -> list[Alert]:
    return alarms.check(joined, errors(joined, model), (), 3)


def test_an_error_above_the_best_baseline_for_a_whole_window_fires_once() -> None:
    alarms = Alarms("toy", window=100, unit="min")
    assert check(alarms, 50, BAD) == [], "the first window is warm-up"
    assert check(alarms, 100, BAD) == []
    assert check(alarms, 199, BAD) == [], "not yet for a whole window"
    fired = check(alarms, 200, BAD)
    assert [(a.name, a.firing, a.value, a.threshold, a.version) for a in fired] == [
        ("error_above_baseline", True, BAD, 5.0, 3)
    ]
    assert check(alarms, 300, BAD) == []
    assert [f.name for f in alarms.firing] == ["error_above_baseline"]


def test_it_stops_when_the_model_is_better_again() -> None:
    alarms = Alarms("toy", window=100, unit="")
    for joined in (100, 200):
        check(alarms, joined, BAD)
    stopped = check(alarms, 250, GOOD)
    assert [(a.name, a.firing, a.at_us) for a in stopped] == [("error_above_baseline", False, 250)]
    assert alarms.firing == ()
    assert check(alarms, 300, BAD) == [], "and the window begins anew"


def test_a_model_better_within_the_window_fires_nothing() -> None:
    alarms = Alarms("toy", window=100, unit="")
    assert [check(alarms, joined, model) for joined, model in ((100, BAD), (150, GOOD), (240, BAD), (339, BAD))] == [
        []
    ] * 4


def test_a_failed_worker_fires_and_stops() -> None:
    alarms = Alarms("toy", window=100, unit="")
    worker = Worker("stream-1", "stream", "h", "FAILED", 4, 0, "NaN in tensor w")
    fired = alarms.check(1, None, (worker,), 4)
    assert [(a.name, a.severity, a.firing) for a in fired] == [("worker_failed", Alert.WARNING, True)]
    assert "NaN in tensor w" in fired[0].message
    assert alarms.check(2, None, (worker,), 4) == []
    assert [a.firing for a in alarms.check(3, None, (), 4)] == [False]
