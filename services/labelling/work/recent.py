"""What each person decided last, for undo."""

from collections.abc import Iterable, Iterator

from services.labelling.work.entry import Entry

_KEPT = 200


class Recent:
    """The items that each labeller decided on, the last `_KEPT` ones."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._items: dict[str, dict[str, None]] = {}
        decisions = sorted(
            ((d.at_ms, d.labeller, entry.id) for entry in entries for d in entry.live), key=lambda one: one[0]
        )
        for _, labeller, item in decisions:
            self.add(labeller, item)

    def add(self, labeller: str, item: str) -> None:
        """They have decided on this item, just now."""
        items = self._items.setdefault(labeller, {})
        items.pop(item, None)
        items[item] = None
        if len(items) > _KEPT:
            del items[next(iter(items))]

    def remove(self, labeller: str, item: str) -> None:
        """They took their decision back."""
        items = self._items.get(labeller, {})
        items.pop(item, None)
        if not items:
            self._items.pop(labeller, None)

    def newest(self, labeller: str) -> Iterator[str]:
        """Their items, the last decided first."""
        return reversed(list(self._items.get(labeller, ())))
