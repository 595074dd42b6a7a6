"""Candidates become items: each queue takes the most pressing that it has room for, and their events are looked up."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from headrace.contracts.labelling import NULL, LabelItem, LabelWork
from headrace.runtime.logging import get_logger
from services.labelling.queues.candidates import Candidate, Source
from services.labelling.queues.queue import Queue
from services.labelling.work.entry import Entry
from services.labelling.work.store import Store

log = get_logger("headrace.label")

Fetch = Callable[[Sequence[Source]], Mapping[Source, bytes]]
"""The events at these places, those that are still on the topic."""
_LOOKED_AT = 50
"""So many of the least pressing items are looked at for one that may give way."""


class Wanted(NamedTuple):
    """A candidate, and how pressing it is."""

    place: float
    candidate: Candidate


class Admission:
    """Decides which candidates become items of the store."""

    def __init__(self, store: Store, queues: Sequence[Queue], fetch: Fetch, *, max_event_bytes: int) -> None:
        self._store, self._fetch, self._max_event_bytes = store, fetch, max_event_bytes
        self.queues = {queue.spec.name: queue for queue in queues}
        self.unscored = self.lost = 0

    def passed_over(self, queue: str) -> int:
        """Candidates that a queue wanted and had no room for."""
        return self.queues[queue].passed_over

    def admit(self, candidates: Iterable[Candidate], now: int) -> int:
        """Add items of the candidates that some queue takes; how many."""
        fresh = [one for one in candidates if one.id not in self._store.entries and self._is_in_time(one, now)]
        if not fresh:
            return 0
        wanted = {name: self._wanted(queue, fresh) for name, queue in self.queues.items()}
        taken = {n: self._cut(q, wanted[n], now) for n, q in self.queues.items() if not q.looks_at_events}
        looked_at = {n: wanted[n] for n, q in self.queues.items() if q.looks_at_events}
        events = self._events(one.candidate for some in (*taken.values(), *looked_at.values()) for one in some)
        for name, some in looked_at.items():
            queue = self.queues[name]
            fitting = [one for one in some if _sees(queue, events.get(one.candidate.id))]
            taken[name] = self._cut(queue, fitting, now)
        return self._add_all(taken, events, now)

    def _is_in_time(self, candidate: Candidate, now: int) -> bool:
        return not candidate.event_ms or candidate.event_ms + self._store.window_ms > now

    def _wanted(self, queue: Queue, candidates: Iterable[Candidate]) -> list[Wanted]:
        """Those that the queue wants, the most pressing first."""
        found = []
        for candidate in candidates:
            try:
                place = queue.place(candidate)
            except (ValueError, TypeError) as error:
                self.unscored += 1
                log.debug("a prediction cannot be scored", queue=queue.spec.name, item=candidate.id, error=str(error))
                continue
            if place is not None:
                found.append(Wanted(place, candidate))
        return sorted(found, key=lambda one: -one.place)

    def _cut(self, queue: Queue, wanted: Sequence[Wanted], now: int) -> list[Wanted]:
        """Those that the queue has allowance and room for; room is made where they are more pressing."""
        taken: list[Wanted] = []
        waiting = self._store.waiting[queue.spec.name]
        room = queue.spec.size - len(waiting)
        for one in wanted[: queue.allowance.left(now)]:
            if not self._store.has_room or (room <= len(taken) and not self._made_room(queue, one.place, now)):
                break
            taken.append(one)
            room = queue.spec.size - len(waiting)
        queue.allowance.take(len(taken))
        queue.passed_over += len(wanted) - len(taken)
        return taken

    def _made_room(self, queue: Queue, place: float, now: int) -> bool:
        """Whether a less pressing item of the queue has given way: one that nobody has touched."""
        if not queue.is_scored:
            return False
        name = queue.spec.name
        for item, lowest in islice(self._store.waiting[name].last(), _LOOKED_AT):
            if lowest >= place:
                return False
            entry = self._store.entries[item]
            lease = entry.work.lease
            if not entry.work.decisions and (lease is None or lease.until_ms <= now):
                self._leave_queue(entry, name)
                return True
        return False

    def _leave_queue(self, entry: Entry, queue: str) -> None:
        if len(entry.work.queues) == 1:
            self._store.drop(entry)
            return
        with self._store.changing(entry):
            del entry.work.queues[queue]

    def _events(self, candidates: Iterable[Candidate]) -> dict[str, bytes]:
        """The events of candidates by the candidates' ids; of those that are gone or too large none."""
        needed = {candidate.id: candidate for candidate in candidates}
        places = sorted({c.source for c in needed.values() if c.event is None and c.source is not None})
        found = self._fetch(places) if places else {}
        events = {name: c.event or found.get(c.source or (-1, -1)) for name, c in needed.items()}
        good = {name: event for name, event in events.items() if event and len(event) <= self._max_event_bytes}
        self.lost += sum(1 for name, c in needed.items() if name not in good and c.source is not None)
        return good

    def _add_all(self, taken: Mapping[str, Sequence[Wanted]], events: Mapping[str, bytes], now: int) -> int:
        queues: dict[str, dict[str, float]] = {}
        chosen: dict[str, Candidate] = {}
        for name, some in taken.items():
            for place, candidate in some:
                queues.setdefault(candidate.id, {})[name] = place
                chosen[candidate.id] = candidate
        added = 0
        for item, candidate in chosen.items():
            event = events.get(item)
            if event is None and candidate.source is not None:
                continue
            made = _item(candidate, event, now)
            if len(bytes(made.prediction)) > self._max_event_bytes:
                self.lost += 1
                continue
            self._store.add(made, LabelWork(item, queues[item]))
            added += 1
        return added


def _sees(queue: Queue, event: bytes | None) -> bool:
    try:
        fields = msgspec.json.decode(event) if event is not None else None
    except msgspec.DecodeError:
        return False
    return isinstance(fields, dict) and queue.wants(fields)


def _item(candidate: Candidate, event: bytes | None, now: int) -> LabelItem:
    prediction: Any = candidate.prediction
    return LabelItem(
        candidate.id,
        candidate.key,
        NULL if event is None else msgspec.Raw(event),
        candidate.source,
        candidate.event_ms,
        NULL if prediction is None else msgspec.Raw(msgspec.json.encode(prediction)),
        candidate.model,
        candidate.version,
        now,
        candidate.letter,
    )
