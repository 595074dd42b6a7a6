"""What people do: take an item, label it, review it, skip it, take a decision back.

An item goes open → (review →) held → published. A label stays held for `hold_ms`, in which an undo leaves no trace on
the labels topic. After that an undo opens the item again: a different label is then a further record on the topic, a
correction, which the join takes by its own rules (`join.labels.conflicting`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from uuid import uuid4

import msgspec

from headrace.contracts.labelling import NULL, Decision, LabelItem, Lease, Purpose
from services.labelling.errors import ConflictError, UnknownError
from services.labelling.work.chosen import is_chosen
from services.labelling.work.entry import Entry
from services.labelling.work.publishing import publish
from services.labelling.work.recent import Recent
from services.labelling.work.store import Store
from services.labelling.work.tally import SKIPPED

Reviews = Literal["also", "only", "never"]
MOST_BYTES = 400_000
"""Of all that was decided on one item: its record must be one that the broker takes."""
_DECISION_BYTES = 600
WINDOW = "its window is closed: the join would not take a label any more"


class Labels(Protocol):
    """What makes a record for the labels topic of what a person entered."""

    def encode(self, item: LabelItem, given: Mapping[str, Any]) -> bytes:
        """The label of an item, as JSON with its key.

        Raises:
            BadRequestError: it does not fit the pipeline's label; the error names the field.
        """
        ...


@dataclass(frozen=True)
class WorkRules:
    """`lease_ms`, `hold_ms`: see `labelling` in pipeline.yaml, as `review`, `blind` and `skips`.

    `corrected`: whether the join takes a second label of an event as a correction.
    """

    lease_ms: int
    hold_ms: int
    review: float
    blind: bool
    skips: int
    corrected: bool


@dataclass(frozen=True)
class Undone:
    """An undo: the item, whether its label had been published, and what that means."""

    entry: Entry
    was_published: bool
    effect: str


class Desk:
    """All that people do with the items of a store. Times are ms since the epoch, given by the caller."""

    def __init__(self, store: Store, labels: Labels, rules: WorkRules, new_id: Callable[[], str] | None = None) -> None:
        self.store, self.rules = store, rules
        self._labels = labels
        self._new_id = new_id or (lambda: uuid4().hex[:16])
        self._recent = Recent(store.entries.values())

    def entry(self, item: str) -> Entry:
        """The item of that id.

        Raises:
            UnknownError: there is none.
        """
        if (found := self.store.entries.get(item)) is None:
            raise UnknownError(f"no item {item!r}: it was labelled elsewhere, its window has closed, or it never was")
        return found

    # Having an item.

    def lease(
        self, queue: str, labeller: str, now: int, *, reviews: Reviews = "also", fresh: bool = False
    ) -> Entry | None:
        """Give the most pressing item that nobody works on to a labeller; the one that they have, unless `fresh`.

        None where nothing is left for them. A review is for another person than the one who labelled.

        Raises:
            UnknownError: no such queue.
        """
        if (waiting := self.store.waiting.get(queue)) is None:
            raise UnknownError(f"no queue {queue!r}: there are {', '.join(self.store.waiting)}")
        found = None
        for name in waiting:
            entry = self.store.entries[name]
            if self._is_taken(entry, now):
                if not fresh and self._has(entry, labeller) and self._suits(entry, labeller, reviews, now):
                    found = entry
                    break
            elif found is None and self._suits(entry, labeller, reviews, now):
                found = entry
                if fresh:
                    break
        if found is not None:
            self._give(found, labeller, now, queue)
        return found

    def renew(self, item: str, labeller: str, now: int) -> Entry:
        """Make the labeller's lease last from now on.

        Raises:
            UnknownError, ConflictError: there is no such item, or the labeller has no lease of it.
        """
        entry = self._leased(item, labeller)
        lease = self._lease_of(entry)
        lease.until_ms = self._until(entry, now)
        self.store.touch(entry)
        return entry

    def release(self, item: str, labeller: str) -> Entry:
        """End the labeller's lease; errors as `renew`."""
        entry = self._leased(item, labeller)
        entry.work.lease = None
        self.store.touch(entry)
        return entry

    # Deciding.

    def label(self, item: str, labeller: str, given: Mapping[str, Any], now: int) -> Entry:
        """Label an item that the labeller has a lease of; the second person's label is a review.

        The same label again, of an item that has it, changes nothing: a client that got no answer may ask again.

        Raises:
            UnknownError, ConflictError: see `renew`; or its window is closed.
            BadRequestError: the label does not fit.
        """
        entry = self.entry(item)
        value = self._labels.encode(entry.item, given)
        if self._has_said(entry, labeller, value):
            return entry
        self._leased(item, labeller)
        self._check_window(entry, now)
        lease = self._lease_of(entry)
        kind: Purpose = "review" if entry.work.state == "review" else "label"
        self._decide(entry, self._decision(lease, now, kind, msgspec.Raw(value)), now)
        return entry

    def review(self, item: str, labeller: str, given: Mapping[str, Any] | None, now: int) -> Entry:
        """Label an item as its second person; `given` of None agrees with the first one's label.

        Raises:
            UnknownError, ConflictError, BadRequestError: see `label`; or there is nothing to review, or the first label
                is not shown to a reviewer.
        """
        entry = self.entry(item)
        first = entry.labels[0] if entry.labels else None
        if given is None:
            if self.rules.blind:
                raise ConflictError("a reviewer who does not see the first label gives one: `label`, not `accept`")
            if first is None:
                raise ConflictError(f"item {item} has no label to accept")
            given = msgspec.json.decode(first.label)
        value = self._labels.encode(entry.item, given)
        if entry.work.state != "review" and not self._has_said(entry, labeller, value):
            raise ConflictError(f"item {item} is {entry.work.state}, not waiting for a review")
        return self.label(item, labeller, given, now)

    def skip(self, item: str, labeller: str, reason: str, now: int) -> Entry:
        """Pass an item over: this person is not offered it again, and after `skips` people nobody is.

        Raises:
            UnknownError, ConflictError: see `renew`.
        """
        entry = self._leased(item, labeller)
        decision = self._decision(self._lease_of(entry), now, "skip", NULL, reason)
        self.check_size(entry.work.decisions, [decision])
        with self.store.changing(entry):
            entry.work.decisions.append(decision)
            self._settle(entry, now, has_label=False)
        self._recent.add(labeller, item)
        return entry

    def undo(self, item: str, labeller: str, now: int) -> Undone:
        """Take the labeller's last decision on an item back, and give the item to them again.

        Raises:
            UnknownError: no such item.
            ConflictError: they decided nothing, somebody decided after them, or its window is closed.
        """
        entry = self.entry(item)
        live = entry.live
        if not any(d.labeller == labeller for d in live):
            raise ConflictError(f"{labeller} has decided nothing on item {item}")
        last = live[-1]
        if last.labeller != labeller:
            raise ConflictError(f"{last.labeller} has decided after {labeller}: theirs is to be undone first")
        self._check_window(entry, now)
        if self._is_taken(entry, now) and not self._has(entry, labeller):
            raise ConflictError(f"{self._lease_of(entry).labeller} works on item {item}")
        was_published = entry.work.state == "published"
        with self.store.changing(entry):
            last.undone_ms = now
            entry.work.state, entry.work.why, entry.work.due_ms = "review" if entry.labels else "open", "", 0
        self._recent.remove(labeller, item)
        self._give(entry, labeller, now, last.queue)
        return Undone(entry, was_published, self._effect(last, was_published=was_published))

    def undo_last(self, queue: str, labeller: str, now: int) -> Undone:
        """Take the labeller's last decision in a queue back; errors as `undo`."""
        for item in self._recent.newest(labeller):
            entry = self.store.entries.get(item)
            if entry is not None and queue in entry.work.queues and entry.live and entry.live[-1].labeller == labeller:
                return self.undo(item, labeller, now)
        raise ConflictError(f"{labeller} has decided nothing in queue {queue!r} that can be undone")

    def adopt(self, entry: Entry, decisions: Sequence[Decision], now: int) -> None:
        """Take decisions that were made elsewhere, in their order: a second person's label is a review.

        A further label of the same person replaces theirs.

        Raises:
            ConflictError: there would be too many on one item.
        """
        self.check_size(entry.work.decisions, decisions)
        with self.store.changing(entry):
            for decision in decisions:
                if decision.kind != "skip":
                    for earlier in entry.labels:
                        if earlier.labeller == decision.labeller:
                            earlier.undone_ms = now
                    decision.kind = "review" if entry.labels else "label"
                entry.work.decisions.append(decision)
                self._recent.add(decision.labeller, entry.id)
            self._settle(entry, now, has_label=any(d.kind != "skip" for d in decisions))
        if entry.work.state == "held" and not self.rules.hold_ms:
            publish(self.store, entry, now)

    # What time and other producers do.

    def publish_due(self, now: int) -> None:
        """Publish the labels that were held long enough."""
        for entry in self.store.due(now):
            publish(self.store, entry, now)

    def end_windows(self, now: int) -> None:
        """Close what can teach nothing any more, and forget finished items that are too many."""
        for entry in list(self.store.ended(now)):
            self.close(entry, "its window has closed")
        self.store.trim()

    def labelled_elsewhere(self, key: str, at_ms: int) -> None:
        """Somebody else has put a label of this key on the topic at a time: an item of it need not wait any more.

        A label that is further than a window from the item's event is of an earlier event with the same key.
        """
        entry = self.store.entries.get(self.store.by_key.get(key, ""))
        if entry is not None and (not entry.item.event_ms or abs(at_ms - entry.item.event_ms) <= self.store.window_ms):
            self.close(entry, "it was labelled elsewhere")

    def close(self, entry: Entry, why: str) -> None:
        """End the waiting of an item; without any decision it is forgotten."""
        if not entry.work.decisions:
            self.store.drop(entry)
            return
        with self.store.changing(entry):
            entry.work.lease = None
            entry.work.state, entry.work.why = ("published", "") if entry.work.published else ("closed", why)

    # The parts of these.

    def _suits(self, entry: Entry, labeller: str, reviews: Reviews, now: int) -> bool:
        is_review = entry.work.state == "review"
        if (is_review and reviews == "never") or (not is_review and reviews == "only"):
            return False
        if entry.skipped_by(labeller) or (is_review and entry.labelled_by(labeller)):
            return False
        end = self.store.expires_ms(entry)
        return not end or now < end

    def _is_taken(self, entry: Entry, now: int) -> bool:
        lease = entry.work.lease
        return lease is not None and now < lease.until_ms

    def _has(self, entry: Entry, labeller: str) -> bool:
        return entry.work.lease is not None and entry.work.lease.labeller == labeller

    def _give(self, entry: Entry, labeller: str, now: int, queue: str) -> None:
        """A lease; of the same person's that lasts still, the beginning stays."""
        old = entry.work.lease if self._is_taken(entry, now) else None
        since = old.since_ms if old is not None and old.labeller == labeller else now
        purpose: Purpose = "review" if entry.work.state == "review" else "label"
        entry.work.lease = Lease(labeller, since, self._until(entry, now), purpose, queue)
        self.store.touch(entry)

    def _until(self, entry: Entry, now: int) -> int:
        end = self.store.expires_ms(entry)
        return min(now + self.rules.lease_ms, end) if end else now + self.rules.lease_ms

    def _leased(self, item: str, labeller: str) -> Entry:
        """The item, if the labeller's is its last lease: one that is over counts until somebody else takes the item."""
        entry = self.entry(item)
        lease = entry.work.lease
        if lease is None:
            state = "not leased" if entry.work.state in ("open", "review") else entry.work.state
            raise ConflictError(f"item {item} is {state}: lease it before you decide")
        if lease.labeller != labeller:
            raise ConflictError(f"{lease.labeller} works on item {item}")
        return entry

    @staticmethod
    def _lease_of(entry: Entry) -> Lease:
        assert entry.work.lease is not None
        return entry.work.lease

    def _check_window(self, entry: Entry, now: int) -> None:
        if 0 < self.store.expires_ms(entry) <= now:
            raise ConflictError(f"item {entry.id}: {WINDOW}")

    @staticmethod
    def check_size(known: Sequence[Decision], further: Sequence[Decision]) -> None:
        """Check that an item may have further decisions.

        Raises:
            ConflictError: they are more than are kept of one item.
        """
        size = sum(
            _DECISION_BYTES + len(bytes(d.label)) + len(bytes(d.extra)) + len(d.reason) for d in (*known, *further)
        )
        if size > MOST_BYTES:
            raise ConflictError(f"more than is kept of one item: {size} bytes of decisions, at most {MOST_BYTES}")

    def _has_said(self, entry: Entry, labeller: str, value: bytes) -> bool:
        return any(d.labeller == labeller and bytes(d.label) == value for d in entry.labels)

    def _decision(
        self, lease: Lease, now: int, kind: Literal["label", "review", "skip"], label: msgspec.Raw, reason: str = ""
    ) -> Decision:
        lead = max(0, now - lease.since_ms)
        return Decision(self._new_id(), lease.labeller, now, kind, label, reason, lead, queue=lease.queue)

    def _decide(self, entry: Entry, decision: Decision, now: int) -> None:
        """Take a label: it waits for a second person, or is held, or is published at once."""
        self.check_size(entry.work.decisions, [decision])
        with self.store.changing(entry):
            entry.work.decisions.append(decision)
            self._settle(entry, now, has_label=True)
        self._recent.add(decision.labeller, entry.id)
        if entry.work.state == "held" and not self.rules.hold_ms:
            publish(self.store, entry, now)

    def _settle(self, entry: Entry, now: int, *, has_label: bool) -> None:
        """The state of an item after a decision; inside `Store.changing`."""
        work = entry.work
        work.lease = None
        if has_label:
            needs_review = len(entry.labels) < 2 and is_chosen("review", entry.id, self.rules.review)
            work.state, work.why = ("review" if needs_review else "held"), ""
            work.due_ms = 0 if needs_review else now + self.rules.hold_ms
        elif work.state == "open" and len({d.labeller for d in entry.live}) >= self.rules.skips:
            work.state, work.why = "closed", SKIPPED

    def _effect(self, last: Decision, *, was_published: bool) -> str:
        if not was_published or last.kind == "skip":
            return "nothing of it was published"
        if self.rules.corrected:
            return "its label is published: another one will correct it, and the model learns from both"
        return (
            "its label is published, and the join keeps the first label of an event: another one is recorded, but the "
            "model does not learn from it (join.labels.conflicting: corrected)"
        )
