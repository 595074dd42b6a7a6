"""All items in memory, and what is to be written of them: the topic headrace.labelling is the durable copy.

Whoever changes an item does so inside `Store.changing`. Changes are collected in `Store.outbox` until they are
committed, all of them in one transaction.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from headrace.contracts.labelling import LabelItem, LabelPositions, LabelWork, item_key, positions_key, work_key
from services.labelling.work.entry import DONE, WAITING, Entry
from services.labelling.work.tally import Tally
from services.labelling.work.waiting import Waiting

_WORK_BYTES = 400
"""What an item's place in memory takes beside its record, about."""


@dataclass(frozen=True)
class LabelRecord:
    """A label for the pipeline's labels topic. `partition` of None lets the key choose."""

    key: bytes
    value: bytes
    headers: Mapping[str, bytes]
    partition: int | None


@dataclass
class Outbox:
    """What is to be written in the next transaction: records of the state by key (None deletes), and labels."""

    state: dict[bytes, bytes | None] = field(default_factory=dict)
    labels: list[LabelRecord] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.state or self.labels)


class Store:
    """The items of one pipeline.

    Args:
        pipeline: its name.
        queues: the names of its queues.
        window_ms: how long after its event a label is joined.
        keep: finished items that are kept.
        max_bytes: bytes of all items; of finished ones the oldest are given up, and `has_room` says when no more fit.
    """

    def __init__(self, pipeline: str, queues: Iterable[str], *, window_ms: int, keep: int, max_bytes: int) -> None:
        self._pipeline, self.window_ms, self._keep, self._max_bytes = pipeline, window_ms, keep, max_bytes
        self.entries: dict[str, Entry] = {}
        self.by_key: dict[str, str] = {}
        self.waiting: dict[str, Waiting] = {name: Waiting() for name in queues}
        self.tally, self.outbox = Tally(), Outbox()
        self.positions = LabelPositions()
        self.bytes, self.revision = 0, 0
        self._done: dict[str, None] = {}
        self._held: dict[str, None] = {}

    # Reading what is there.

    def load(self, items: Mapping[str, LabelItem], works: Mapping[str, LabelWork], positions: LabelPositions) -> None:
        """Take what the topic holds; nothing of it is written again."""
        self.positions = positions
        for entry in sorted(
            (Entry(item, works[name], _size(item)) for name, item in items.items() if name in works), key=_last_change
        ):
            self._enter(entry)

    def expires_ms(self, entry: Entry) -> int:
        """When the window of its event closes; 0 for never."""
        return entry.item.event_ms + self.window_ms if entry.item.event_ms else 0

    @property
    def has_room(self) -> bool:
        """Whether another item may be added."""
        return self.bytes < self._max_bytes

    def due(self, now_ms: int) -> Iterator[Entry]:
        """Held items whose label is to be published by now."""
        found = [self.entries[name] for name in self._held]
        yield from (entry for entry in found if entry.work.due_ms <= now_ms)

    def ended(self, now_ms: int) -> Iterator[Entry]:
        """Waiting items whose window has closed by now."""
        found = [self.entries[name] for name in self.by_key.values()]
        yield from (entry for entry in found if 0 < self.expires_ms(entry) <= now_ms)

    # Changing it.

    def add(self, item: LabelItem, work: LabelWork) -> Entry:
        """Add an item."""
        encoded = msgspec.json.encode(item)
        entry = Entry(item, work, len(encoded) + _WORK_BYTES)
        self._enter(entry)
        self.outbox.state[item_key(self._pipeline, item.id)] = encoded
        self._write(entry)
        return entry

    @contextmanager
    def changing(self, entry: Entry) -> Iterator[None]:
        """Change an item's work inside. What raises must do so before it changes anything."""
        self._leave(entry)
        try:
            yield
        finally:
            self._enter(entry)
        self._write(entry)

    def touch(self, entry: Entry) -> None:
        """Note that the lease of an item has changed, and nothing else."""
        self._write(entry)

    def drop(self, entry: Entry) -> None:
        """Forget an item."""
        self._leave(entry)
        for key in (item_key, work_key):
            self.outbox.state[key(self._pipeline, entry.id)] = None
        self.revision += 1

    def move(self, positions: LabelPositions) -> None:
        """Note how far was read."""
        self.positions = positions
        self.outbox.state[positions_key(self._pipeline)] = msgspec.json.encode(positions)

    def trim(self) -> None:
        """Forget the finished items that are too many, the oldest."""
        while self._done and (len(self._done) > self._keep or self.bytes > self._max_bytes):
            self.drop(self.entries[next(iter(self._done))])

    def taken(self) -> Outbox:
        """The outbox, which is empty from now on."""
        taken, self.outbox = self.outbox, Outbox()
        return taken

    def _write(self, entry: Entry) -> None:
        self.outbox.state[work_key(self._pipeline, entry.id)] = msgspec.json.encode(entry.work)
        self.revision += 1

    def _enter(self, entry: Entry) -> None:
        name, work = entry.id, entry.work
        self.entries[name] = entry
        self.bytes += entry.size
        self.tally.add(entry)
        if work.state in WAITING:
            self.by_key[entry.item.key] = name
            for queue, place in work.queues.items():
                if (waiting := self.waiting.get(queue)) is not None:
                    waiting.add(name, place)
        elif work.state == "held":
            self._held[name] = None
        elif work.state in DONE:
            self._done[name] = None

    def _leave(self, entry: Entry) -> None:
        name, work = entry.id, entry.work
        self.entries.pop(name, None)
        self.bytes -= entry.size
        self.tally.add(entry, -1)
        self._done.pop(name, None)
        self._held.pop(name, None)
        if work.state in WAITING:
            if self.by_key.get(entry.item.key) == name:
                del self.by_key[entry.item.key]
            for queue, place in work.queues.items():
                if (waiting := self.waiting.get(queue)) is not None:
                    waiting.remove(name, place)


def _size(item: LabelItem) -> int:
    return len(msgspec.json.encode(item)) + _WORK_BYTES


def _last_change(entry: Entry) -> int:
    """When somebody last did something; items that were finished first are given up first."""
    times = [decision.undone_ms or decision.at_ms for decision in entry.work.decisions]
    return max([entry.item.added_ms, *times, *(published.at_ms for published in entry.work.published)])
