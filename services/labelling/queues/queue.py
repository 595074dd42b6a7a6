"""One queue: which candidates it wants, how pressing each is, and how many it may take now."""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.model.labelling_spec import QueueSpec
from headrace.model.slices import Slice, parse_slice
from services.labelling.queues.candidates import Candidate
from services.labelling.queues.scores import Scorer
from services.labelling.work.chosen import is_chosen

_MINUTE_MS = 60_000


class Allowance:
    """So many a minute, as many at once as one minute has; it begins full."""

    def __init__(self, per_minute: int) -> None:
        self._most, self._left, self._at_ms = per_minute, float(per_minute), 0

    def left(self, now_ms: int) -> int:
        """How many may be taken now."""
        passed = max(0, now_ms - self._at_ms) if self._at_ms else 0
        self._left = min(self._most, self._left + self._most * passed / _MINUTE_MS)
        self._at_ms = now_ms
        return int(self._left)

    def take(self, number: int) -> None:
        """Take some of those that are left."""
        self._left -= number


class Queue:
    """A queue of pipeline.yaml.

    Attributes:
        passed_over: candidates that it wanted and had no room or allowance for.
    """

    def __init__(self, spec: QueueSpec, scorer: Scorer) -> None:
        self.spec, self._scorer = spec, scorer
        self.allowance = Allowance(spec.per_minute)
        self.passed_over = 0
        self._where = parse_slice(spec.where) if spec.where else None
        self._slices: Sequence[Slice] = tuple(parse_slice(one) for one in spec.slices)
        self._of_alerts: Sequence[Slice] = ()

    @property
    def is_scored(self) -> bool:
        """Whether a more pressing candidate replaces a less pressing item; others take none while they are full."""
        return self.spec.kind in ("uncertain", "disagreement")

    @property
    def looks_at_events(self) -> bool:
        """Whether it must see an event to know whether it wants it."""
        return self._where is not None or self.spec.kind == "slices"

    def name_slices(self, slices: Sequence[Slice]) -> None:
        """Take the slices that alerts name now."""
        if self.spec.kind == "slices" and self.spec.alerts:
            self._of_alerts = slices

    def place(self, candidate: Candidate) -> float | None:
        """How pressing a candidate is; None if the queue does not want it. Events come in the order of their time.

        Raises:
            ValueError, TypeError: its prediction has not the task's form.
        """
        kind, in_order = self.spec.kind, -float(candidate.event_ms)
        if (kind == "dead_letters") != (candidate.letter is not None):
            return None
        if kind == "uncertain":
            return self._scorer.uncertainty(self.spec, candidate.prediction, candidate.others)
        if kind == "disagreement":
            return max((self._scorer.distance(candidate.prediction, one) for one in candidate.others), default=None)
        if kind == "sampled":
            return in_order if is_chosen(f"queue {self.spec.name}", candidate.key, self.spec.share or 0.0) else None
        if kind == "slices" and not self._slices and not self._of_alerts:
            return None
        return in_order

    def wants(self, event: Mapping[str, Any]) -> bool:
        """Whether it wants this event, as far as the event decides."""
        if self._where is not None and not self._where.takes(event):
            return False
        if self.spec.kind != "slices":
            return True
        return any(one.takes(event) for one in (*self._slices, *self._of_alerts))
