"""How many items of each queue are in each state, kept up to date by each change."""

from collections import Counter

from services.labelling.work.entry import Entry

SKIPPED = "skipped"


class Tally:
    """Counts by queue and state, and labels that count by queue."""

    def __init__(self) -> None:
        self._states = Counter[tuple[str, str]]()
        self._labels = Counter[str]()

    def add(self, entry: Entry, sign: int = 1) -> None:
        """Count an item; with `sign` -1 take it back, before it changes."""
        labels = len(entry.labels)
        for queue in entry.work.queues:
            self._states[queue, entry.work.state] += sign
            self._labels[queue] += sign * labels
            if entry.work.state == "closed" and entry.work.why == SKIPPED:
                self._states[queue, SKIPPED] += sign

    def of(self, queue: str, state: str) -> int:
        """Items of a queue in a state; `skipped` are those that are closed since people skipped them."""
        return self._states[queue, state]

    def labels(self, queue: str) -> int:
        """Labels that count on items of a queue."""
        return self._labels[queue]
