"""One log's part of the join's state, and what of it is committed with its offset."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeGuard, cast

import msgspec

from headrace.runtime.errors import DataError
from services.ingest.join.clock import NEVER, START, ClockState, LogClock, Span
from services.ingest.join.keys import KeyReader
from services.ingest.join.state.open import PAST_BYTES, OpenRecords
from services.ingest.join.state.records import Records
from services.ingest.join.state.seen import OPEN_PARTS, SeenKeys

_MOST_MARKS = 128
_MOST_RAISES = 64


class _Committed(msgspec.Struct, array_like=True, frozen=True):
    """What is committed as the offset's metadata, in JSON: at most some 2 KiB, of the broker's 4."""

    version: int
    begin: int
    clock: ClockState
    raises: list[tuple[int, int]]


class Resume(NamedTuple):
    """Where a log was committed: the next offset, and what a rebuild of the state needs ("": all of the log)."""

    offset: int
    state: str = ""

    @property
    def begin(self) -> int:
        """The offset from which the log must be read again."""
        return self._decoded().begin

    @property
    def clock(self) -> ClockState:
        """The clock's state there."""
        return self._decoded().clock

    @property
    def raises(self) -> list[tuple[int, int]]:
        """Since then: at which offsets the low time was raised, and to what."""
        return self._decoded().raises

    def _decoded(self) -> _Committed:
        if not self.state.startswith("["):  # nothing, or what earlier versions wrote: a watermark
            return _Committed(1, 0, START, [])
        try:
            return msgspec.json.decode(self.state, type=_Committed)
        except msgspec.DecodeError as error:
            raise DataError(f"committed metadata {self.state[:80]!r}: {error}") from error


class Side:
    """One log's part of the state."""

    def __init__(
        self, resume: Resume, key_of: Callable[[bytes], str], window_ms: int, skew_ms: int, parts: int = OPEN_PARTS
    ) -> None:
        self.committed, self._key_of = resume, key_of
        self._keys_of = key_of.column if isinstance(key_of, KeyReader) else lambda values: list(map(key_of, values))
        self.position = self.read_to = resume.offset
        self.reached = False
        self.held: list[Records] = []
        self.clock = LogClock(window_ms, skew_ms, resume.clock)
        self._is_timed = self.clock.low != NEVER
        self.seen, self.open = SeenKeys(window_ms), OpenRecords(window_ms, parts)
        self.past = OpenRecords(window_ms, each=PAST_BYTES)
        """Records that are not open and that a correction may need: events with a label, and repeated labels."""
        self._raises = list(resume.raises)
        self._repeated = 0
        self._marks: deque[tuple[int, ClockState]] = deque([(resume.begin, resume.clock)])

    @property
    def bytes_held(self) -> int:
        """About what this side takes in memory."""
        return self.open.bytes_held + self.past.bytes_held + self.seen.bytes_held

    @property
    def hot_bytes(self) -> int:
        """The part of it that could be spilled."""
        return self.open.hot_bytes + self.past.hot_bytes + self.seen.hot_bytes

    def keys_of(self, records: Records) -> "tuple[list[str] | list[str | None], list[tuple[int, ValueError]]]":
        """The records' keys, and which of them could not be decoded; those have None."""
        try:
            return self._keys_of(records.values), []
        except ValueError:
            pass
        keys, bad = list[str | None](), list[tuple[int, ValueError]]()
        for i, value in enumerate(records.values):
            try:
                keys.append(self._key_of(value))
            except ValueError as error:
                keys.append(None)
                bad.append((i, error))
        return keys, bad

    def place(self, records: Records) -> list[Span] | None:
        """See `LogClock.place`; remembers where blocks ended."""
        spans = self.clock.place(records.offsets, records.timestamps)
        if self.clock.closed:
            self._marks += self.clock.closed
            self.clock.closed.clear()
            if len(self._marks) > _MOST_MARKS:
                self._marks = deque(mark for i, mark in enumerate(self._marks) if i % 2 == 0)
        return spans

    def remember_new(self, keys: Sequence[str | None], records: Records) -> TypeGuard[list[str]]:
        """Remember the keys of records whose times are exact if that is plain; else nothing is changed.

        It is if every record has a key, and none is there twice, was seen before or is open.
        """
        if None in keys or not self.open.by_key.keys().isdisjoint(keys):
            return False
        return self.seen.add_new(cast("Sequence[str]", keys), records.timestamps, records.offsets[0])

    def raise_low(self, low: int) -> None:
        """Raise the low time from the next record on."""
        if len(self._raises) >= _MOST_RAISES:
            return
        self._raise_to(low)
        self._raises = [(at, to) for at, to in self._raises if at != self.position] + [(self.position, self.clock.low)]
        self._repeated = len(self._raises)

    def raises_due(self) -> list[int]:
        """While the state is rebuilt: offsets at which the low time must be raised again."""
        return [at for at, _ in self._raises[self._repeated :]]

    def repeat_raises(self, offset: int) -> None:
        """Repeat what was decided at or below this offset."""
        while self._repeated < len(self._raises) and self._raises[self._repeated][0] <= offset:
            self._raise_to(self._raises[self._repeated][1])
            self._repeated += 1

    def resume(self, needed: int) -> Resume:
        """What to commit, if the state can be rebuilt from the record at `needed` on."""
        while len(self._marks) > 1 and self._marks[1][0] <= min(needed, self.position):
            self._marks.popleft()
        begin, clock = self._marks[0]
        gone = sum(at < begin for at, _ in self._raises)
        self._raises, self._repeated = self._raises[gone:], self._repeated - gone
        state = msgspec.json.encode(_Committed(1, begin, clock, self._raises)).decode()
        return Resume(self.position, state)

    def _raise_to(self, low: int) -> None:
        self.clock.raise_to(low)
        self.settle()

    def settle(self) -> None:
        """Where the log has a low time for the first time: let what came before it had any time expire, too."""
        if self._is_timed or self.clock.low == NEVER:
            return
        self._is_timed = True
        for store in (self.seen, self.open, self.past):
            store.bound(self.clock.timeless_until)
