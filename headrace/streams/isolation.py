"""Finding the records that a batch call cannot take, and stopping when it is not a few records but everything."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from headrace.runtime.errors import DataError

T = TypeVar("T")
R = TypeVar("R")


class TooManyBadError(Exception):
    """More items fail than are worth finding one by one."""


def bisect(
    work: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T], *, most_bad: int
) -> tuple[list[tuple[int, R]], list[tuple[int, Exception]]]:
    """Results of `work`, which takes many items at once and raises when it cannot take one of them.

    Halves are tried until the failing items stand alone: k bad of n cost about 2·k·log2(n) calls.

    Returns:
        (index, result) of every good item and (index, error) of every bad one, both by index.

    Raises:
        TooManyBadError: more than `most_bad` items fail; its cause is the last item's error.
    """
    good: list[tuple[int, R]] = []
    bad: list[tuple[int, Exception]] = []
    spans = [(0, len(items))] if items else []
    while spans:
        start, end = spans.pop()
        try:
            good.extend(enumerate(work(items[start:end]), start))
        except Exception as error:  # whatever the author's code raises is reported with the record
            if end - start == 1:
                bad.append((start, error))
                if len(bad) > most_bad:
                    raise TooManyBadError(f"{len(bad)} of the first {end} items fail") from error
            else:
                middle = (start + end) // 2
                spans += [(middle, end), (start, middle)]
    return good, bad


class Breaker:
    """Opens when bad records are not the exception: then a deploy is wrong, and dead letters would swallow the stream.

    Counts are halved every `window` records, so that the ratio is the recent one.
    """

    def __init__(self, ratio: float = 0.5, least: int = 200, window: int = 10_000) -> None:
        self.ratio = ratio
        self.least = least
        self._window = window
        self._bad = 0.0
        self._total = 0.0

    def most_bad(self, records: int) -> int:
        """How many of the next `records` may be bad before the breaker opens for certain."""
        total = self._total + records
        return max(self.least, int(self.ratio * total - self._bad))

    def count(self, bad: int, records: int, example: str) -> None:
        """Count a chunk, before it is committed.

        Raises:
            DataError: too many were bad; `example` is one of them, for the message.
        """
        self._bad += bad
        self._total += records
        if bad and self._bad > self.least and self._bad >= self.ratio * self._total:
            raise DataError(
                f"{self._bad:.0f} of the last {self._total:.0f} records cannot be predicted; for example {example}",
                hint="does the event schema fit the topic, and is the model sound? "
                "Nothing of the last chunk was committed",
            )
        while self._total > self._window:
            self._bad /= 2
            self._total /= 2
