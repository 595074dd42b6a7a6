"""Tasks join a queue, and their annotations become decisions: each once, however often a file is imported."""

from hashlib import blake2b
from typing import NamedTuple

import msgspec

from headrace.contracts.labelling import NULL, Decision, LabelItem, LabelWork
from services.labelling.errors import ConflictError
from services.labelling.studio.reading import Annotation, Task
from services.labelling.work.desk import MOST_BYTES, Desk, Labels
from services.labelling.work.entry import Entry


class Brought(NamedTuple):
    """What a task brought: whether a new item, and how many new decisions and how many that were known."""

    is_new: bool
    decisions: int
    repeated: int


def item_of_key(key: str) -> str:
    """The id of an item that came by a file alone: its event's place is not known, its key is."""
    return "k" + blake2b(key.encode(), digest_size=8).hexdigest()


class Importer:
    """Brings tasks into a desk's queues."""

    def __init__(self, desk: Desk, labels: Labels, sizes: dict[str, int]) -> None:
        self._desk, self._store, self._labels, self._sizes = desk, desk.store, labels, sizes

    def bring(self, task: Task, queue: str, number: int, now: int) -> Brought:
        """Take a task, the `number`-th of its file, into a queue.

        Raises:
            ConflictError: there is no room, or its window is closed.
            BadRequestError: a label does not fit; nothing of the task was taken.
        """
        entry = self._known(task)
        item = entry.item if entry is not None else self._new(task, now)
        known = {d.id for d in entry.work.decisions} if entry is not None else set[str]()
        fresh = [one for one in task.annotations if one.id not in known]
        decisions = [self._decision(item, one, queue, now) for one in fresh]
        is_new = entry is None
        if entry is None:
            self._check_room(queue, waits=not decisions)
            if (size := len(msgspec.json.encode(item))) > MOST_BYTES:
                raise ConflictError(f"the task has {size} bytes, {MOST_BYTES} may be kept")
            self._desk.check_size([], decisions)
            # In the order of the file, between what came before and what comes later.
            entry = self._store.add(item, LabelWork(item.id, {queue: -(now + number / 1000)}))
        elif decisions:
            self._check_window(entry, now)
        if decisions:
            self._desk.adopt(entry, decisions, now)
        return Brought(is_new, len(decisions), len(task.annotations) - len(fresh))

    def _known(self, task: Task) -> Entry | None:
        names = (task.item, self._store.by_key.get(task.key, ""), item_of_key(task.key))
        return next((self._store.entries[name] for name in names if name in self._store.entries), None)

    @staticmethod
    def _new(task: Task, now: int) -> LabelItem:
        return LabelItem(item_of_key(task.key), task.key, task.event, added_ms=now, extra=task.extra)

    def _check_room(self, queue: str, *, waits: bool) -> None:
        if not self._store.has_room:
            raise ConflictError("there is no room for further items (--max-state-bytes)")
        if waits and len(self._store.waiting[queue]) >= self._sizes[queue]:
            raise ConflictError(f"queue {queue!r} is full: its size is {self._sizes[queue]}")

    def _check_window(self, entry: Entry, now: int) -> None:
        if 0 < self._store.expires_ms(entry) <= now:
            raise ConflictError(f"the window of item {entry.id} is closed")

    def _decision(self, item: LabelItem, given: Annotation, queue: str, now: int) -> Decision:
        label = NULL if given.label is None else msgspec.Raw(self._labels.encode(item, given.label))
        at_ms = given.at_ms or now
        made = Decision(given.id, given.labeller, at_ms, "label", label, "", given.lead_ms, 0, queue, given.extra)
        made.kind = "skip" if given.label is None else "label"
        return made
