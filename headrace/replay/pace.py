"""When each record is due: by event time at a speed-up, at a fixed rate of events, or at once.

Due times count from one start and are never measured from the record before, so a late record does not delay those
after it and nothing drifts.
"""

from collections.abc import Callable

from headrace.model.source import Timed

Pace = Callable[[Timed], float]
"""A record to the seconds after the start at which it is due; called once for each record, in order."""


def at_once(_: Timed) -> float:
    """Everything is due now."""
    return 0.0


def by_event_time(speed: float) -> Pace:
    """`speed` event-time seconds pass in one second; the first record is due at the start."""
    first: float | None = None

    def due(record: Timed) -> float:
        nonlocal first
        if first is None:
            first = record.at
        return (record.at - first) / speed

    return due


def by_rate(rate: float) -> Pace:
    """`rate` events a second; a label is due with the event before it."""
    events = 0

    def due(record: Timed) -> float:
        nonlocal events
        if record.kind == "events":
            events += 1
        return max(events - 1, 0) / rate

    return due
