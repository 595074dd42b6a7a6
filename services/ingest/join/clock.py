"""The time of one partition's log, from its records' timestamps, which no single record and no burst of them can move.

Everything here is a function of the log alone: two readers of the same records always come to the same times.

- The *recent time* is the median of the last nine timestamps. A record is *in bounds* if its timestamp is within
  `skew_ms` of it. Its time is then its timestamp. (Where records are far apart, four times their usual distance counts
  as in bounds as well.)
- A record *out of bounds* has a clock that is wrong, or is the first after a pause. Which of the two, nobody can tell
  yet. So its time is a span: from its timestamp to the recent time, and it can be joined anywhere in it.
- The *low time* never goes back, and no later record's time lies below it. It decides what can be forgotten. A block is
  256 records, or fewer where the recent time has moved on by an eighth of a window; the low time is the least median of
  the last 16 blocks. A jump of the timestamps therefore counts only after most records of 16 blocks in a row have it.
- A timestamp before the year 2000 (zero, negative, a clock that was reset) is no timestamp.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

NEVER = -1
"""The low time of a log that has not had enough records yet."""
FOREVER = 1 << 62
EARLIEST_MS = 946_684_800_000
"""2000-01-01: what lies before is no timestamp."""
MOST_AHEAD_MS = 30 * 86_400_000
"""A timestamp that is ahead by more is not waited for, even if it may be the first after a pause."""
BLOCK, BLOCKS, RECENT = 256, 16, 9


class Span(NamedTuple):
    """A record's time in ms: between `low` and `high`; `odd` if the timestamp was out of bounds."""

    low: int
    high: int
    odd: bool = False


class ClockState(NamedTuple):
    """A clock between two blocks."""

    low: int = NEVER
    lows: tuple[int, ...] = ()
    recent: tuple[int, ...] = ()


START = ClockState()


class LogClock:
    """Places records in time, in the order of their log.

    Args:
        window_ms: the join's window.
        skew_ms: how far from the recent time a timestamp may be.
        state: where to go on.
    """

    def __init__(self, window_ms: int, skew_ms: int, state: ClockState = START) -> None:
        self.low = state.low
        self.timeless_until = NEVER
        """When the low time was first known: by when the records were written that came before and had no time."""
        self.closed: list[tuple[int, ClockState]] = []
        """Ends of blocks since the caller last took them away: the next offset, and the state there."""
        self._window, self._skew, self._step = window_ms, skew_ms, max(1, window_ms // 8)
        self._lows = deque(state.lows, BLOCKS)
        self._recent = deque(state.recent, RECENT)
        self._block: list[int] = []
        self._count, self._opened = 0, self.recent

    @property
    def recent(self) -> int:
        """The recent time; NEVER before the first timestamp."""
        return sorted(self._recent)[(len(self._recent) - 1) // 2] if self._recent else NEVER

    @property
    def latest(self) -> int:
        """By when a record was written of which only the low time is known.

        That lies behind by 16 blocks, which are two windows at most, and by `skew_ms` where it is another log's. The
        record's other half may be a window away from it.
        """
        return self.low + 3 * self._window + self._skew

    def raise_to(self, low: int) -> None:
        """Let the log's time be at least `low` from the next record on."""
        known = self.low != NEVER
        self.low = max(self.low, low)
        if not known and self.low != NEVER:
            self.timeless_until = self.latest

    def place(self, offsets: Sequence[int], timestamps: Sequence[int]) -> list[Span] | None:
        """The records' times; None if each is its timestamp, which is the usual case and costs little."""
        spans: list[Span] = []
        plain, start = True, 0
        while start < len(timestamps):
            end = min(len(timestamps), start + BLOCK - self._count)
            part = timestamps[start:end]
            if self._is_plain(part):
                self._take(part, offsets[end - 1])
                spans += () if plain else map(Span, part, part)
            else:
                placed = [self._place(*record) for record in zip(offsets[start:end], part, strict=True)]
                if plain and any(span.odd for span in placed):
                    plain, spans = False, [Span(t, t) for t in timestamps[:start]]
                spans += () if plain else placed
            start = end
        return None if plain else spans

    def _is_plain(self, part: Sequence[int]) -> bool:
        """Whether no record of a part of a block can be out of bounds or end the block early, whatever their order."""
        if not self._recent:
            return False
        least, most = min(part), max(part)
        if least < self.low or least < EARLIEST_MS:
            return False
        least, most = min(least, min(self._recent)), max(most, max(self._recent))  # noqa: PLW3301 - of a collection
        return most - least <= self._skew and most < min(least, self._opened) + self._step

    def _take(self, part: Sequence[int], last_offset: int) -> None:
        self._recent.extend(part)
        self._block += part
        self._count += len(part)
        if self._count >= BLOCK:
            self._close(last_offset + 1)

    def _place(self, offset: int, timestamp: int) -> Span:
        span = self._judge(timestamp)
        self._count += 1
        if timestamp >= EARLIEST_MS:
            self._recent.append(timestamp)
            self._block.append(timestamp)
        recent = self.recent
        if self._opened == NEVER:
            self._opened = recent
        if self._count >= BLOCK or recent >= self._opened + self._step:
            self._close(offset + 1)
        return span

    def _judge(self, timestamp: int) -> Span:
        low, known = self.low, timestamp >= EARLIEST_MS
        if not self._recent:
            if known and timestamp >= low:
                return Span(timestamp, timestamp)
            return Span(NEVER, FOREVER, odd=True) if low == NEVER else Span(low, self.latest, odd=True)
        recent = sorted(self._recent)
        middle, quarter = recent[(len(recent) - 1) // 2], recent[(len(recent) - 1) // 4]
        bounds = max(self._skew, 4 * (middle - quarter))
        if known and timestamp >= low and abs(timestamp - middle) <= bounds:
            return Span(timestamp, timestamp)
        if not known or timestamp - middle > MOST_AHEAD_MS:
            timestamp = middle
        first, last = max(low, min(timestamp, middle)), max(low, timestamp, middle)
        if last == low:  # the whole log is behind the other one: all that is known is that it was not read earlier
            last = self.latest
        return Span(first, last, odd=True)

    def _close(self, next_offset: int) -> None:
        if self._block:
            self._lows.append(sorted(self._block)[(len(self._block) - 1) // 2])
        if len(self._lows) == BLOCKS:
            self.raise_to(min(self._lows))
        self._block, self._count, self._opened = [], 0, self.recent
        self.closed.append((next_offset, ClockState(self.low, tuple(self._lows), tuple(self._recent))))
