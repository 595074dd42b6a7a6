"""Events that may join a queue: each waits a little, for what its shadows predict and for a label from elsewhere."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from headrace.contracts.labelling import LetterOf
from headrace.contracts.records import Prediction

Source = tuple[int, int]
Offsets = dict[str, dict[int, int]]

MOST_PENDING = 20_000
"""Candidates that wait at most; the oldest stop waiting before their time."""
_REMEMBERED = 50_000
"""Shadows' predictions and labels that came before the champion's prediction, the newest."""


@dataclass(slots=True)
class Candidate:
    """A predicted event, or a dead letter. `others` are the shadows' predictions; `event` is known of letters alone."""

    id: str
    key: str
    event_ms: int
    source: Source | None = None
    prediction: Any = None
    model: str = ""
    version: int = 0
    others: list[Any] = field(default_factory=list)
    letter: LetterOf | None = None
    event: bytes | None = None
    labelled: bool = False


@dataclass
class Read:
    """What one read of the topics brought. `labels`: of each label that others gave, its key and Kafka timestamp."""

    predictions: list[Prediction[Any]] = field(default_factory=list)
    shadows: list[Prediction[Any]] = field(default_factory=list)
    letters: list[Candidate] = field(default_factory=list)
    labels: list[tuple[str, int]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.predictions or self.shadows or self.letters or self.labels)


@dataclass
class _Batch:
    """Candidates of one read, and where the topics stood before it."""

    before: Offsets
    at_ms: int
    candidates: list[Candidate]


class Candidates:
    """Candidates in the order in which they were read.

    `offsets` is where reading must begin again for all that still wait here: what is read from there is the same again.

    Args:
        after_ms: how long each waits.
        window_ms: a label further than this from its event is another event's.
    """

    def __init__(self, after_ms: int, window_ms: int) -> None:
        self._after_ms, self._window_ms = after_ms, window_ms
        self._batches = deque[_Batch]()
        self._by_source: dict[Source, Candidate] = {}
        self._by_key: dict[str, Candidate] = {}
        self._early: dict[Source, list[Any]] = {}
        self._labelled: dict[str, int] = {}
        self._pending = 0

    def __len__(self) -> int:
        return self._pending

    def offsets(self, now_at: Offsets) -> Offsets:
        """Where reading must begin again, when the topics are read up to `now_at`."""
        return self._batches[0].before if self._batches else now_at

    def add(self, read: Read, before: Offsets, now_ms: int) -> None:
        """Take what was read; `before` is where the topics stood before."""
        for key, at_ms in read.labels:
            self._label(key, at_ms)
        made = [self._candidate(one) for one in read.predictions if not self._has_label(one.key, one.event_ms)]
        made += [letter for letter in read.letters if not self._has_label(letter.key, letter.event_ms)]
        for shadow in read.shadows:
            self._shadow(shadow)
        for memory in (self._early, self._labelled):
            _trim(memory)
        if made:
            self._batches.append(_Batch(before, now_ms, made))
            self._pending += len(made)

    def ripe(self, now_ms: int) -> list[Candidate]:
        """Take out those that have waited long enough and got no label meanwhile."""
        found: list[Candidate] = []
        while self._batches and (self._batches[0].at_ms + self._after_ms <= now_ms or self._pending > MOST_PENDING):
            batch = self._batches.popleft()
            self._pending -= len(batch.candidates)
            self._forget(batch.candidates)
            found += [candidate for candidate in batch.candidates if not candidate.labelled]
        return found

    def _candidate(self, prediction: Prediction[Any]) -> Candidate:
        partition, offset = source = prediction.source
        made = Candidate(
            f"{partition}-{offset}", prediction.key, prediction.event_ms, source, prediction.prediction,
            prediction.model, prediction.version, self._early.pop(source, []),
        )  # fmt: skip
        self._by_source[source] = self._by_key[made.key] = made
        return made

    def _shadow(self, shadow: Prediction[Any]) -> None:
        if (candidate := self._by_source.get(shadow.source)) is not None:
            candidate.others.append(shadow.prediction)
        else:
            self._early.setdefault(shadow.source, []).append(shadow.prediction)

    def _label(self, key: str, at_ms: int) -> None:
        self._labelled.pop(key, None)  # the newest stay longest
        self._labelled[key] = at_ms
        if (candidate := self._by_key.get(key)) is not None and self._has_label(key, candidate.event_ms):
            candidate.labelled = True

    def _has_label(self, key: str, event_ms: int) -> bool:
        at_ms = self._labelled.get(key)
        return at_ms is not None and abs(at_ms - event_ms) <= self._window_ms

    def _forget(self, candidates: Iterable[Candidate]) -> None:
        for candidate in candidates:
            if candidate.source is not None and self._by_source.get(candidate.source) is candidate:
                del self._by_source[candidate.source]
            if self._by_key.get(candidate.key) is candidate:
                del self._by_key[candidate.key]


def _trim(memory: dict[Any, Any]) -> None:
    for name in list(memory)[: max(0, len(memory) - _REMEMBERED)]:
        del memory[name]
