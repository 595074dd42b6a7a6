"""Items, queues and people's work as the REST API and the command show them."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import msgspec

from headrace.contracts.labelling import Decision
from headrace.contracts.plain_values import time_of
from headrace.model.labelling_spec import QueueSpec
from services.labelling.forms.labels import LabelForm
from services.labelling.work.agreement import Double, agreement
from services.labelling.work.desk import Desk
from services.labelling.work.entry import Entry

SCORED = frozenset({"uncertain", "disagreement"})
WHAT = {
    "all": "every predicted event, in the order of time",
    "sampled": "a random share of the predicted events",
    "uncertain": "the events that the model is least certain of",
    "disagreement": "the events on which the champion and a shadow differ most",
    "slices": "events of the slices that pipeline.yaml or a firing alert names",
    "dead_letters": "events and labels that could not be processed",
}


class Shown:
    """Makes plain values of what a desk has."""

    def __init__(
        self, desk: Desk, form: LabelForm, queues: Sequence[QueueSpec], passed_over: Callable[[str], int]
    ) -> None:
        self._desk, self._store, self._form = desk, desk.store, form
        self._queues = {queue.name: queue for queue in queues}
        self._passed_over = passed_over

    def queues(self, now: int) -> list[dict[str, Any]]:
        """Every queue with its counts."""
        return [self.queue(name, now) for name in self._queues]

    def queue(self, name: str, now: int) -> dict[str, Any]:
        """A queue with its counts."""
        queue, tally, entries = self._queues[name], self._store.tally, self._store.entries
        leased = sum(_is_leased(entries[item], now) for item in self._store.waiting[name])
        return {
            "name": name,
            "kind": queue.kind,
            "what": WHAT[queue.kind],
            **{state: tally.of(name, state) for state in ("open", "review", "held", "published", "skipped")},
            "leased": leased,
            "labels": tally.labels(name),
            "size": queue.size,
            "passed_over": self._passed_over(name),
        }

    def item(self, entry: Entry, now: int, reader: str | None = None) -> dict[str, Any]:
        """An item. To a `reader` who is to review it blindly, decisions of others are not shown."""
        item, work = entry.item, entry.work
        lease = work.lease if _is_leased(entry, now) else None
        end = self._store.expires_ms(entry)
        hidden = self._desk.rules.blind and work.state == "review" and reader is not None
        decisions = [d for d in work.decisions if not hidden or d.labeller == reader]
        scored = {name for name, queue in self._queues.items() if queue.kind in SCORED}
        return {
            "id": item.id,
            "key": item.key,
            "event": msgspec.json.decode(item.event),
            "prediction": msgspec.json.decode(item.prediction),
            "model": item.model,
            "version": item.version,
            "at": _time(item.event_ms),
            "expires": _time(end),
            "queues": {name: place if name in scored else None for name, place in work.queues.items()},
            "state": work.state,
            "why": work.why,
            "lease": None if lease is None else {
                "labeller": lease.labeller, "until": _time(lease.until_ms), "purpose": lease.purpose
            },
            "decisions": [self._decision(decision) for decision in decisions],
            "published": [_time(one.at_ms) for one in work.published],
            "letter": None if item.letter is None else msgspec.to_builtins(item.letter),
        }  # fmt: skip

    def agreement(self, queue: str | None = None) -> dict[str, Any]:
        """How far people agree, over all items or those of a queue."""
        found = []
        for entry in self._store.entries.values():
            if queue is not None and queue not in entry.work.queues:
                continue
            if len(labels := entry.labels) >= 2:
                first, second = labels[0], labels[-1]
                said = self._form.entered(bytes(first.label)), self._form.entered(bytes(second.label))
                found.append(Double((first.labeller, second.labeller), said))
        return agreement(found, self._form.fields)

    def labellers(self, queue: str) -> list[dict[str, Any]]:
        """What each person did in a queue."""
        theirs = defaultdict[str, list[Decision]](list)
        for entry in self._store.entries.values():
            if queue in entry.work.queues:
                for decision in entry.live:
                    theirs[decision.labeller].append(decision)
        return [_of_labeller(name, decisions) for name, decisions in sorted(theirs.items())]

    def _decision(self, decision: Decision) -> dict[str, Any]:
        label = msgspec.json.decode(decision.label)
        return {
            "id": decision.id,
            "labeller": decision.labeller,
            "at": _time(decision.at_ms),
            "kind": decision.kind,
            "label": None if label is None else self._form.entered(bytes(decision.label)),
            "reason": decision.reason,
            "undone": _time(decision.undone_ms),
        }


def _of_labeller(name: str, decisions: Sequence[Decision]) -> dict[str, Any]:
    kinds = {kind: sum(d.kind == kind for d in decisions) for kind in ("label", "review", "skip")}
    times = [d.lead_ms / 1000 for d in decisions if d.lead_ms]
    return {
        "labeller": name, "labels": kinds["label"], "reviews": kinds["review"], "skips": kinds["skip"],
        "seconds": median(times) if times else None,
    }  # fmt: skip


def _is_leased(entry: Entry, now: int) -> bool:
    return entry.work.lease is not None and now < entry.work.lease.until_ms


def _time(ms: int) -> str | None:
    return time_of(ms / 1000) if ms else None
