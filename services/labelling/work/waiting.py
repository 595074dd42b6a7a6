"""The items of one queue that wait for a person, the most pressing first."""

from bisect import bisect_left, insort
from collections.abc import Iterator

Place = tuple[float, str]


class Waiting:
    """Items by their place in the queue, the highest first; those with the same one by id.

    Adding and removing search by halves; a queue has some thousands of items.
    """

    def __init__(self) -> None:
        self._places: list[Place] = []

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return (item for _, item in list(self._places))

    def add(self, item: str, place: float) -> None:
        """Add an item that is not there."""
        insort(self._places, (-place, item))

    def remove(self, item: str, place: float) -> None:
        """Take out an item that is there."""
        at = bisect_left(self._places, (-place, item))
        if at < len(self._places) and self._places[at] == (-place, item):
            del self._places[at]

    def last(self) -> Iterator[tuple[str, float]]:
        """Items and places, the least pressing first."""
        return ((item, -negative) for negative, item in reversed(self._places))
