"""When a version is at fault, and when it is the world or the events."""

import random

from headrace.alerts.definitions import VERSION_WORSE
from headrace.contracts.events_pb2 import Alert, DeadLetter
from services.monitor.alerts import Alarms
from services.monitor.regression import Fault, Scored, VersionErrors, VersionFailures


def errors(window: int = 1000) -> VersionErrors:
    return VersionErrors(window, beside=2.0, before=4.0)


def fill(
    found: VersionErrors, version: int, mean: float, count: int = 100, *, at: float = 0.0, baseline: float | None = None
) -> None:
    """Errors as they come: exponentially spread, all in the same second."""
    noise = random.Random(version)
    for _ in range(count):
        found.add(Scored(version, at, noise.expovariate(1 / mean), () if baseline is None else (baseline, 100.0)))


def test_a_version_much_worse_than_those_before_it_is_at_fault() -> None:
    found = errors()
    fill(found, 1, 1.0, at=0)
    fill(found, 2, 3.0, at=10)
    assert found.fault() is None, "worse, but not by the factor"
    fill(found, 3, 12.0, at=20)
    fault = found.fault("min")
    assert fault is not None
    assert (fault.version, fault.value > fault.threshold) == (3, True)
    assert "min before" in fault.message


def test_beside_others_less_is_enough() -> None:
    """A canary is compared with what the others did at the same time, whatever was before."""
    found = errors()
    fill(found, 1, 0.1, at=0)
    for at in range(10, 20):
        fill(found, 1, 1.0, 10, at=at)
        fill(found, 2, 3.0, 10, at=at)
    fault = found.fault()
    assert fault is not None
    assert fault.version == 2
    assert "at the same time" in fault.message


def test_what_the_others_lost_as_well_is_not_its_fault() -> None:
    """Concept drift: beside others, or where it serves alone, beside the best baseline."""
    beside = errors()
    fill(beside, 1, 1.0, at=0)
    fill(beside, 1, 9.0, at=10)
    fill(beside, 2, 9.0, at=10)
    assert beside.fault() is None
    alone = errors()
    fill(alone, 1, 1.0, at=0, baseline=2.0)
    fill(alone, 2, 9.0, at=10, baseline=6.0)
    assert alone.fault() is None
    fill(alone, 3, 40.0, at=20, baseline=6.0)
    assert alone.fault() is not None


def test_a_few_events_prove_nothing() -> None:
    found = errors()
    fill(found, 1, 1.0, at=0)
    fill(found, 2, 100.0, 29, at=10)
    assert found.fault() is None
    first = errors()
    fill(first, 1, 100.0)
    assert first.fault() is None, "there was nothing before it"


def test_the_next_version_begins_anew() -> None:
    found = errors(window=200)
    fill(found, 1, 1.0, at=0)
    fill(found, 2, 20.0, at=10)
    assert found.fault() is not None
    fill(found, 3, 1.0, at=20)
    assert found.fault() is None


def letters(found: VersionFailures, version: int, failed: int, predicted: int, phase: str = "forward") -> None:
    for _ in range(failed):
        found.dead_letter(DeadLetter(phase=phase, model_version=version))
    for _ in range(predicted):
        found.predicted(version)


def test_a_version_that_fails_on_many_events_is_at_fault() -> None:
    found = VersionFailures()
    letters(found, 1, 0, 1000)
    letters(found, 2, 19, 21)
    assert found.fault() is None
    letters(found, 2, 1, 0)
    fault = found.fault()
    assert fault is not None
    assert (fault.version, fault.value) == (2, 20 / 41)


def test_events_that_cannot_be_read_or_that_no_version_predicts_are_not_its_fault() -> None:
    found = VersionFailures()
    letters(found, 1, 100, 100, phase="decode")
    assert found.fault() is None
    letters(found, 1, 50, 100)
    letters(found, 2, 50, 100)
    assert found.fault() is None


def test_a_version_at_fault_is_a_critical_alert_that_names_it() -> None:
    alarms = Alarms("toy", window=100, unit="")
    (fired,) = alarms.check(1, None, (), 3, {VERSION_WORSE: Fault(4, 9.0, 2.0, "version 4 is far off")})
    assert (fired.name, fired.severity, fired.version, fired.firing) == ("version_worse", Alert.CRITICAL, 4, True)
    assert (fired.value, fired.threshold, fired.message) == (9.0, 2.0, "version 4 is far off")
    (stopped,) = alarms.check(2, None, (), 3)
    assert (stopped.version, stopped.firing) == (4, False)
