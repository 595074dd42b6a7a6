"""Comparing windows of a stream with references: many columns at once, block after block."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headrace.drift import distances
from headrace.drift.limits import ABOVE, BELOW, BLOCK, MISSING, WIDTH, Limits
from headrace.drift.reference import FOLDED, ColumnReference, Ints, as_plain, folded, from_plain, learn, smoothing
from headrace.drift.schema import Column, ColumnSpec

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
What = Literal["distribution", "missing", "outside"]
WHATS: tuple[What, ...] = ("distribution", "missing", "outside")


@dataclass(frozen=True)
class Change:
    """A column started or stopped being drifted, in one of three ways.

    `value` and `limit` are of what is farthest above its limit; `statistic` names it, as `psi over 1,000`. `at` is how
    many values the group has taken.
    """

    column: str
    what: What
    firing: bool
    value: float
    limit: float
    statistic: str
    at: int


class Group:
    """Columns that come together: the inputs of a pipeline, or the predictions of one model.

    Each column first learns its reference from `Limits.reference` values, unless it is given one. Then a window's
    counts are compared after each block of values, in the order in which they are taken. Not thread-safe.

    Args:
        specs: the columns.
        limits: what counts as drift.
        watched: how many columns are watched in all, these and others, for the limits' correction.
        references: references by column; those without one learn theirs.
    """

    def __init__(
        self,
        specs: Sequence[ColumnSpec],
        limits: Limits,
        *,
        watched: int | None = None,
        references: Mapping[str, ColumnReference] | None = None,
    ) -> None:
        self.specs, self._limits = tuple(specs), limits
        self._watched = watched or len(self.specs)
        count = len(self.specs)
        self.references: list[ColumnReference | None] = [None] * count
        self._learning: list[list[Column]] = [[] for _ in self.specs]
        self.taken = self._partial = 0
        self._block = np.zeros((count, WIDTH), dtype=np.int64)
        self._ring = np.zeros((limits.blocks[1], count, WIDTH), dtype=np.int64)
        self._blocks = np.zeros(count, dtype=np.int64)  # whole blocks of each column since its reference
        self._next = 0
        self._above = np.zeros((len(WHATS), count), dtype=np.int64)  # blocks in a row
        self._below = np.zeros((len(WHATS), count), dtype=np.int64)
        self.firing = np.zeros((len(WHATS), count), dtype=bool)
        self._since = np.zeros((len(WHATS), count), dtype=np.int64)
        self.given = frozenset(references or ())
        for i, spec in enumerate(self.specs):
            if references and spec.name in references:
                self.references[i] = references[spec.name]
        self._arrange()

    def take(self, columns: Sequence[Column]) -> list[Change]:
        """Take the next values of every column, N each, and return what changed. Any N, at any time."""
        changes: list[Change] = []
        count = len(columns[0]) if columns else 0
        done = 0
        while done < count:  # up to where a column's reference is complete
            part = min(count - done, self._until_learned())
            changes += self._part([column[done : done + part] for column in columns], part)
            done += part
        return changes

    def reset(self, names: Sequence[str] | None = None) -> list[Change]:
        """Learn the references of these columns, or of all, anew; what was drifted no longer is."""
        changes = []
        for i, spec in enumerate(self.specs):
            if names is None or spec.name in names:
                changes += self._forget(i)
        self._arrange()
        return changes

    def shares(self, window: int = 0) -> Floats:
        """Of the short (0) or long (1) window: shares of missing values, below, and above or unseen, [3, C]."""
        counts = self._window(window)
        shares: Floats = counts[:, [MISSING, BELOW, ABOVE]].T / np.maximum(counts.sum(axis=1), 1)
        return shares

    def distances(self, window: int) -> tuple[Floats, Floats, Floats]:
        """Of the short (0) or long (1) window: PSI, KS and Wasserstein [C], this in reference standard deviations."""
        own = folded(self._window(window), self._bins)
        psi = distances.psi(self._reference, own, self._smoothing)
        ks = np.where(self._ordered, distances.ks(self._reference, own), 0.0)
        moved = distances.wasserstein(self._reference, own, self._edges) / self._spread
        return psi, ks, np.where(self._ordered, moved, 0.0)

    def filled(self, window: int) -> Bools:
        """Which columns have a whole short (0) or long (1) window since their reference [C]."""
        filled: Bools = self._compared & (self._blocks >= self._limits.blocks[window])
        return filled

    def counts(self, window: int) -> Ints:
        """Counts of the short (0) or long (1) window [C, WIDTH]."""
        return self._window(window)

    def learned(self, column: int) -> int:
        """How many values of its reference a column has that learns it."""
        return sum(map(len, self._learning[column]))

    def _part(self, columns: Sequence[Column], count: int) -> list[Change]:
        changes: list[Change] = []
        for i, values in enumerate(columns):
            if self.references[i] is None:
                self._learning[i].append(values)
        rows = (self._partial + np.arange(count)) // BLOCK
        blocks = int(rows[-1]) + 1
        counts = np.zeros((blocks, len(self.specs), WIDTH), dtype=np.int64)
        offsets = rows * WIDTH
        for i, (values, reference) in enumerate(zip(columns, self.references, strict=True)):
            if reference is not None and reference.state == "steady":
                found = np.bincount(reference.codes(values) + offsets, minlength=blocks * WIDTH)
                counts[:, i] = found.reshape(blocks, WIDTH)
        counts[0] += self._block
        whole = (self._partial + count) // BLOCK
        start = self.taken - self._partial
        for block in range(whole):
            changes += self._whole(counts[block], start + (block + 1) * BLOCK)
        self.taken += count
        self._partial = (self._partial + count) % BLOCK
        self._block = counts[whole] if whole < blocks else np.zeros_like(self._block)
        self._learn()
        return changes

    def _whole(self, counts: Ints, at: int) -> list[Change]:
        """A block is complete."""
        self._ring[self._next] = counts
        self._next = (self._next + 1) % len(self._ring)
        self._blocks += self._compared
        if not self.filled(0).any():
            return []
        above, clear, shown = self._compare()
        self._above = np.where(above, self._above + 1, 0)
        self._below = np.where(clear, self._below + 1, 0)
        start = ~self.firing & (self._above >= self._limits.raise_after)
        stop = self.firing & (self._below >= self._limits.clear_after)
        self.firing = (self.firing | start) & ~stop
        self._since = np.where(start, at, self._since)
        changes = [self._change(w, c, shown, at) for w, c in zip(*np.nonzero(start | stop), strict=True)]
        return [*changes, *self._adopt(at)]

    def _compare(self) -> tuple[Bools, Bools, list[tuple[str, Floats, Floats]]]:
        """Which columns are above a limit in each way [3, C], which well below all, and every statistic's figures."""
        both = folded(np.stack([self._window(0), self._window(1)]), self._bins)
        psi = distances.psi(self._reference, both, self._smoothing)
        ks = np.where(self._ordered, distances.ks(self._reference, both), 0.0)
        ratio = np.maximum(psi / self._psi, ks / self._ks)
        ratios = np.zeros((len(WHATS), len(self.specs)))
        ratios[0] = np.where([self.filled(0), self.filled(1)], ratio, 0.0).max(axis=0)
        shown: list[tuple[str, Floats, Floats]] = []
        for window, size in enumerate(self._limits.windows):
            filled = self.filled(window)
            shown.append((f"PSI over {size:,}", np.where(filled, psi[window], 0.0), self._psi[window]))
            shown.append((f"KS over {size:,}", np.where(filled, ks[window], 0.0), self._ks[window]))
        missing, below, above = self.shares()
        filled = self.filled(0)
        for way, share, limit in ((1, missing, self._missing), (2, below + above, self._outside)):
            shown.append((WHATS[way], share, limit))
            ratios[way] = np.where(filled, share / np.maximum(limit, 1e-9), 0.0)
        return ratios >= 1, ratios < self._limits.clear, shown

    def _change(self, way: int, column: int, shown: list[tuple[str, Floats, Floats]], at: int) -> Change:
        own = shown[:-2] if way == 0 else [shown[-3 + way]]
        statistic, values, limits = max(own, key=lambda one: float(one[1][column] / max(one[2][column], 1e-9)))
        value, limit = float(values[column]), float(limits[column])
        return Change(self.specs[column].name, WHATS[way], bool(self.firing[way, column]), value, limit, statistic, at)

    def _adopt(self, at: int) -> list[Change]:
        """Columns that have been drifted for so long that what they are now is what is usual."""
        adopt = self._limits.adopt
        if adopt is None:
            return []
        late = (self.firing & (at - self._since >= adopt)).any(axis=0)
        changes = [change for i in np.flatnonzero(late).tolist() for change in self._forget(i, at)]
        if changes:
            self._arrange()
        return changes

    def _forget(self, column: int, at: int | None = None) -> list[Change]:
        name, on = self.specs[column].name, np.flatnonzero(self.firing[:, column]).tolist()
        self.references[column] = None
        self._learning[column] = []
        self._ring[:, column] = self._block[column] = 0
        self._blocks[column] = 0
        self.firing[:, column] = False
        self._above[:, column] = self._below[:, column] = 0
        at = self.taken if at is None else at
        return [
            Change(name, WHATS[way], firing=False, value=0.0, limit=0.0, statistic="a new reference", at=at)
            for way in on
        ]

    def _until_learned(self) -> int:
        wanted = self._limits.reference
        return min([wanted - self.learned(i) for i, ref in enumerate(self.references) if ref is None], default=1 << 40)

    def _learn(self) -> None:
        """Make the references that are complete; their columns are compared from here on."""
        done = [
            i for i, reference in enumerate(self.references)
            if reference is None and self.learned(i) >= self._limits.reference
        ]  # fmt: skip
        for i in done:
            values = np.concatenate(self._learning[i])[: self._limits.reference]
            self.references[i] = learn(self.specs[i], values, self._limits, self._watched)
            self._learning[i] = []
        if done:
            self._arrange()

    def _arrange(self) -> None:
        """What the references say, as arrays over the columns."""
        count, short = len(self.specs), len(self._limits.windows)
        self._bins = np.ones(count, dtype=np.int64)
        self._ordered, self._compared = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        self._edges, self._spread = np.zeros((count, FOLDED + 1)), np.ones(count)
        self._psi, self._ks = np.ones((short, count)), np.ones((short, count))
        self._missing, self._outside = np.ones(count), np.ones(count)
        reference = np.zeros((count, WIDTH), dtype=np.int64)
        for i, one in enumerate(self.references):
            if one is None or one.state != "steady":
                continue
            self._bins[i], self._compared[i], self._ordered[i] = one.folded_bins, True, one.kind == "number"
            if len(one.edges):
                self._edges[i] = np.pad(one.edges, (0, FOLDED + 1 - len(one.edges)), mode="edge")
            self._spread[i], self._psi[:, i], self._ks[:, i] = one.spread, one.psi, one.ks
            self._missing[i], self._outside[i] = one.missing, one.outside
            reference[i] = one.counts
        self._reference = folded(reference, self._bins)
        self._smoothing = smoothing(self._bins)

    def _window(self, window: int) -> Ints:
        last = (self._next - 1 - np.arange(self._limits.blocks[window])) % len(self._ring)
        summed: Ints = (self._ring if len(last) == len(self._ring) else self._ring[last]).sum(axis=0)
        return summed

    # State, as plain values and arrays

    def state(self) -> dict[str, Any]:
        """What `restore` goes on from: all but the values of references that are being learned."""
        return {
            "columns": [spec.name for spec in self.specs],
            "references": [None if one is None else as_plain(one) for one in self.references],
            "taken": self.taken, "partial": self._partial, "next": self._next,
            "blocks": self._blocks.tolist(), "block": _packed(self._block), "ring": _packed(self._ring),
            "above": self._above.tolist(), "below": self._below.tolist(),
            "firing": self.firing.tolist(), "since": self._since.tolist(),
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same columns.

        Raises:
            ValueError, KeyError, TypeError: it is of other columns or windows, or damaged.
        """
        if state["columns"] != [spec.name for spec in self.specs]:
            raise ValueError("the columns are other ones")
        ring = _unpacked(state["ring"], self._ring.shape)
        references = [None if one is None else from_plain(one) for one in state["references"]]
        self.references = [
            given if spec.name in self.given else one
            for spec, given, one in zip(self.specs, self.references, references, strict=True)
        ]
        self.taken, self._partial, self._next = state["taken"], state["partial"], state["next"]
        self._block, self._ring = _unpacked(state["block"], self._block.shape), ring
        self._blocks = np.array(state["blocks"], dtype=np.int64)
        self._above, self._below = np.array(state["above"]), np.array(state["below"])
        self.firing, self._since = np.array(state["firing"], dtype=bool), np.array(state["since"])
        self._arrange()

    def on(self) -> Iterator[tuple[str, What]]:
        """Which columns are drifted, and how."""
        for way, column in zip(*np.nonzero(self.firing), strict=True):
            yield self.specs[column].name, WHATS[way]


def _packed(counts: Ints) -> bytes:
    return counts.astype("<u4").tobytes()


def _unpacked(data: bytes, shape: tuple[int, ...]) -> Ints:
    return np.frombuffer(data, dtype="<u4").reshape(shape).astype(np.int64)
