"""What begins runs, and what keeps storms away."""

from datetime import UTC, datetime
from typing import Any

import pytest

from headrace.contracts.events_pb2 import Alert, DatasetVersion
from headrace.contracts.rule_records import RuleMemory, RuleRun, RuleTrigger
from headrace.rules.admission import remember, verdict
from headrace.rules.past import admitted
from headrace.rules.spec import RuleSpec
from headrace.rules.triggers import next_time, on_alert, on_dataset, on_error, on_labels, on_time, times

SECOND = 1_000_000


def rule(*when: dict[str, Any], **more: Any) -> RuleSpec:
    return RuleSpec(name="r", when=when or ({"call": True},), steps=({"train": {}},), **more)


def alert(name: str = "drift_distance", severity: str = "WARNING", **more: Any) -> Alert:
    said = {"id": "m/drift/distance", "model": "m", "firing": True, "at_us": 5, **more}
    return Alert(name=name, severity=Alert.Severity.Value(severity), **said)


@pytest.mark.parametrize(
    ("when", "fits"),
    [
        ({}, True), ({"name": "drift*"}, True), ({"name": "error*"}, False), ({"severity": "critical"}, False),
        ({"severity": "info"}, True), ({"model": "m"}, True), ({"model": "other"}, False),
    ],
)  # fmt: skip
def test_an_alert_begins_runs_by_name_severity_and_model(when: dict[str, str], fits: bool) -> None:
    found = on_alert(rule({"alert": when}), alert(), 9)
    assert (found is not None) == fits
    if found is not None:
        assert (found.identity, found.at_us, found.details["name"]) == ("alert/m/drift/distance/5", 9, "drift_distance")


def test_an_alert_that_stops_or_that_a_rule_has_written_begins_no_run() -> None:
    assert on_alert(rule({"alert": {}}), alert(firing=False), 9) is None
    assert on_alert(rule({"alert": {}}), alert(id="m/rule/r"), 9) is None


def test_a_new_version_of_a_data_set_begins_runs_and_one_that_is_removed_does_not() -> None:
    made = DatasetVersion(name="rides-fixed", version=3, rows=10)
    found = on_dataset(rule({"dataset": {"name": "rides-*"}}), made, 9)
    assert found is not None
    assert (found.identity, found.details["dataset"]) == ("dataset/rides-fixed@3", "rides-fixed@3")
    assert on_dataset(rule({"dataset": {"name": "flights"}}), made, 9) is None
    made.removed = True
    assert on_dataset(rule({"dataset": {"name": "*"}}), made, 9) is None


def test_labels_are_counted_from_the_first_look_and_again_from_each_trigger() -> None:
    memory, some = RuleMemory(rule="r"), rule({"labels": 100})
    looks = [(1000, 0), (1099, 0), (1100, 1), (1150, 0), (1320, 1), (1321, 0), (5, 0), (105, 1)]
    assert [len(list(on_labels(some, memory, total, 1))) for total, _ in looks] == [number for _, number in looks]


def test_an_error_begins_one_run_each_time_it_stays_above_for_long_enough() -> None:
    memory, some = RuleMemory(rule="r"), rule({"error": {"above": 10, "for_s": 2}})
    looks = [
        (0, 11, 0),
        (1, 11, 0),
        (2, 11, 1),
        (9, 12, 0),
        (10, 10, 0),
        (11, 11, 0),
        (12, 9, 0),
        (13, 11, 0),
        (15, 11, 1),
    ]
    for second, error, number in looks:
        found = list(on_error(some, memory, {"": float(error)}, second * SECOND + 1))
        assert len(found) == number, second
    assert list(on_error(some, memory, {}, 1)) == []


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1e6)


def test_a_schedule_is_in_its_zone_over_the_change_of_the_clocks() -> None:
    berlin = rule({"schedule": {"cron": "30 3 * * *", "zone": "Europe/Berlin"}})
    (when,) = [one.schedule for one in berlin.when if one.schedule is not None]
    found = list(times(when, at("2026-10-24T00:00"), at("2026-10-26T12:00")))
    assert found == [at("2026-10-24T01:30"), at("2026-10-25T02:30"), at("2026-10-26T02:30")]
    assert next_time(berlin, at("2026-10-24T00:00")) == found[0]


def test_of_several_times_that_were_missed_the_newest_one_counts_once() -> None:
    memory, hourly = RuleMemory(rule="r"), rule({"schedule": {"cron": "0 * * * *"}})
    assert list(on_time(hourly, memory, at("2026-01-01T10:30"))) == []
    (found,) = on_time(hourly, memory, at("2026-01-01T14:10"))
    assert found.at_us == at("2026-01-01T14:00")
    assert list(on_time(hourly, memory, at("2026-01-01T14:50"))) == []


def trigger(identity: str, second: int = 0) -> RuleTrigger:
    return RuleTrigger(kind="call", what="called", identity=identity, at_us=second * SECOND + 1)


def running() -> RuleRun:
    return RuleRun(id="x", pipeline="p", rule="r", trigger=trigger("x"), started_us=1, steps=[])


def test_the_same_trigger_is_a_duplicate_and_too_many_or_too_soon_are_dropped() -> None:
    memory, some = RuleMemory(rule="r"), rule(cooldown_s=60, at_most=2)
    assert verdict(some, memory, [running(), running()], trigger("a")) == "busy"
    for identity, second, expected in [("a", 0, "admitted"), ("a", 99, "duplicate"), ("b", 59, "cooldown"),
                                       ("b", 99, "duplicate"), ("c", 60, "admitted")]:  # fmt: skip
        found = verdict(some, memory, [running()], trigger(identity, second))
        assert found == expected, identity
        remember(memory, trigger(identity, second), found, second * SECOND + 1)
    assert memory.suppressed == {"duplicate": 2, "cooldown": 1}


def test_a_rule_on_past_triggers_drops_what_the_cooldown_would_have_dropped() -> None:
    found = admitted(rule(cooldown_s=60), [trigger(str(second), second) for second in (0, 30, 61, 62, 130)])
    assert [one.verdict for one in found] == ["admitted", "cooldown", "admitted", "cooldown", "admitted"]
