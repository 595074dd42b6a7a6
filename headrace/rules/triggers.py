"""What begins runs: conditions over records, figures and times. No client library; times come from the caller."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from headrace.contracts.events_pb2 import Alert, DatasetVersion
from headrace.contracts.plain_values import time_of
from headrace.contracts.rule_records import RuleMemory, RuleTrigger
from headrace.rules.spec import RuleSpec
from headrace.rules.when import ErrorWhen, ScheduleWhen

_SEVERITIES = {"info": Alert.INFO, "warning": Alert.WARNING, "critical": Alert.CRITICAL}
OF_RULES = "/rule/"
"""In the id of each alert that a rule writes. Such an alert begins no run: rules would begin each other for ever."""


def on_alert(rule: RuleSpec, alert: Alert, at_us: int) -> RuleTrigger | None:
    """The trigger that an alert is for a rule; None if it is none, since it stops, or fits no condition."""
    if not alert.firing or OF_RULES in alert.id or getattr(alert, "silenced", False):
        return None
    for when in (one.alert for one in rule.when if one.alert is not None):
        fits = alert.severity >= _SEVERITIES[when.severity] and fnmatchcase(alert.name, when.name)
        if fits and fnmatchcase(alert.model, when.model):
            severity = Alert.Severity.Name(alert.severity).lower()
            details = {
                "id": alert.id, "name": alert.name, "model": alert.model, "severity": severity,
                "message": alert.message, "value": alert.value, "threshold": alert.threshold, "version": alert.version,
            }  # fmt: skip
            return RuleTrigger(
                kind="alert", what=f"{severity} alert {alert.name} of {alert.model}: {alert.message}",
                identity=f"alert/{alert.id}/{alert.at_us}", at_us=at_us, details=details,
            )  # fmt: skip
    return None


def on_dataset(rule: RuleSpec, made: DatasetVersion, at_us: int) -> RuleTrigger | None:
    """The trigger that a new version of a data set is for a rule; None if it is none."""
    if made.removed:
        return None
    named = f"{made.name}@{made.version}"
    for when in (one.dataset for one in rule.when if one.dataset is not None):
        if fnmatchcase(made.name, when.name):
            details = {"dataset": named, "name": made.name, "version": made.version, "rows": made.rows}
            what, identity = f"data set {named}", f"dataset/{named}"
            return RuleTrigger(kind="dataset", what=what, identity=identity, at_us=at_us, details=details)
    return None


def on_labels(rule: RuleSpec, memory: RuleMemory, total: int, now_us: int) -> Iterator[RuleTrigger]:
    """The triggers that the end of the labels topic makes, `total` being the sum of its partitions' ends.

    Counting begins at the first call, and again at each trigger.
    """
    for i, needed in ((i, one.labels) for i, one in enumerate(rule.when) if one.labels is not None):
        base = memory.labels.setdefault(i, total)
        if base > total:  # the topic was made anew
            memory.labels[i] = total
        elif total - base >= needed:
            memory.labels[i] = total
            yield RuleTrigger(
                kind="labels", what=f"{total - base} new labels", identity=f"labels/{i}/{total}", at_us=now_us,
                details={"labels": total - base},
            )  # fmt: skip


def on_error(rule: RuleSpec, memory: RuleMemory, errors: dict[str, float], now_us: int) -> Iterator[RuleTrigger]:
    """The triggers that the moving errors make, by model, "" being of all that was served.

    Once for each time that an error is above its limit for long enough; it must have been at or below it in between.
    """
    for i, when in ((i, one.error) for i, one in enumerate(rule.when) if one.error is not None):
        error = errors.get(when.model)
        if error is not None and (trigger := _above(i, when, memory, error, now_us)) is not None:
            yield trigger


def _above(i: int, when: ErrorWhen, memory: RuleMemory, error: float, now_us: int) -> RuleTrigger | None:
    since = memory.above.get(i, 0)
    if not math.isfinite(error) or error <= when.above:
        memory.above.pop(i, None)
        return None
    if since < 0:
        return None
    since = memory.above[i] = since or now_us
    if now_us - since < when.for_s * 1e6:
        return None
    memory.above[i] = -1
    model = f" of {when.model}" if when.model else ""
    return RuleTrigger(
        kind="error", what=f"error{model} {error:.4g}, above {when.above:g}", identity=f"error/{i}/{since}",
        at_us=now_us, details={"error": error, "above": when.above, "model": when.model},
    )  # fmt: skip


def on_time(rule: RuleSpec, memory: RuleMemory, now_us: int) -> Iterator[RuleTrigger]:
    """The triggers of times that have come since the last call.

    Of several that were missed, as while the role did not run, the newest one alone.
    """
    for i, when in ((i, one.schedule) for i, one in enumerate(rule.when) if one.schedule is not None):
        since = memory.scheduled_us.setdefault(i, now_us)
        due = max(times(when, since, now_us), default=0)
        if due:
            memory.scheduled_us[i] = due
            yield scheduled(i, when, due)


def scheduled(i: int, when: ScheduleWhen, due_us: int) -> RuleTrigger:
    """The trigger of a time."""
    what = f"schedule {when.cron} ({when.zone}): {time_of(due_us / 1e6)}"
    details = {"cron": when.cron, "zone": when.zone, "due_us": due_us}
    return RuleTrigger(kind="schedule", what=what, identity=f"schedule/{i}/{due_us}", at_us=due_us, details=details)


def times(when: ScheduleWhen, after_us: int, until_us: int) -> Iterator[int]:
    """The times of a schedule after one moment and up to another, µs since the epoch."""
    from cronsim import CronSim

    for moment in CronSim(when.cron, datetime.fromtimestamp(after_us / 1e6, ZoneInfo(when.zone))):
        at_us = int(moment.astimezone(UTC).timestamp() * 1e6)
        if at_us > until_us:
            return
        if at_us > after_us:
            yield at_us


def next_time(rule: RuleSpec, now_us: int) -> int:
    """When the next of a rule's schedules comes; 0 where it has none."""
    schedules = [one.schedule for one in rule.when if one.schedule is not None]
    year_us = 366 * 86_400_000_000
    return min((next(times(one, now_us, now_us + 5 * year_us), 0) for one in schedules), default=0)
