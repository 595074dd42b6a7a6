"""Labels that correct an earlier label of their event.

Only an event that has its label is corrected: by every later label of the same key, in the order of the labels' log,
that is at most a window away from the event and whose bytes differ from those of the label before it (the event's
label, or the last such one). That is a relation between records, so the order in which the two logs are read does not
matter: whichever comes last, the event or the correction, finds the other.
"""

from services.ingest.join.clock import Span
from services.ingest.join.rules import Pair
from services.ingest.join.state.open import Open, OpenRecords
from services.ingest.join.state.records import Answered, Record


class Corrections:
    """Answered events and repeated labels of one partition, each until nothing within a window of it can come.

    Args:
        answered: takes events that have their label.
        repeats: takes labels whose key had one before.
    """

    def __init__(self, answered: OpenRecords, repeats: OpenRecords) -> None:
        self._answered, self._repeats = answered, repeats

    def answer(self, pair: Pair, span: Span) -> list[Pair]:
        """An event has got its label: the corrections that came before the event did."""
        assert pair.label is not None
        state = Answered(pair.event.message, pair.label.offset, pair.label.value)
        event = Open(pair.event._replace(message=state), span, span.high)
        found = self._repeats.near(pair.key, span)
        self._answered.add(pair.key, event.record, span)
        return [new for open_ in found if (new := _correct(pair.key, event, open_.record)) is not None]

    def repeat(self, key: str, label: Record, span: Span) -> list[Pair]:
        """A label has come whose key had one before: what it corrects."""
        found = self._answered.near(key, span)
        self._repeats.add(key, label, span)
        return [new for event in found if (new := _correct(key, event, label)) is not None]


def _correct(key: str, event: Open, label: Record) -> Pair | None:
    state: Answered = event.record.message
    if label.offset <= state.offset or label.value == state.value:
        return None
    state.offset, state.value = label.offset, label.value
    return Pair(key, event.record._replace(message=state.message), label, corrected=True)
