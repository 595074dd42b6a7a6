"""What a column is compared with: bins made of reference values, their counts, and the limits that follow from them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headrace.drift import distances
from headrace.drift.limits import ABOVE, BELOW, BINS, BLOCK, CATEGORIES, MISSING, WIDTH, Limits
from headrace.drift.schema import Column, ColumnSpec, Kind

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Steadiness = Literal["steady", "unsteady", "identifier"]
FOLDED = CATEGORIES + 1
"""Bins that distances are of, at most."""
MARGIN = 0.25
"""Numbers are out of range that are beyond the reference's least and largest by more than so much of its range."""
SPREAD = 1.5
"""By which a standard deviation that few windows tell is taken to be larger."""
_IDENTIFIER = 0.5
"""A column more than so much of whose values are different names things, and is not compared; so is one of ..."""
_MOST = 2000
"""... more categories than that."""
_CODES = 32
"""Whole numbers of so few different values are codes."""


@dataclass(frozen=True)
class ColumnReference:
    """One column's reference.

    `kind` is how it is compared: whole numbers of few values are categories. `edges` [K + 1] are of numbers,
    `categories` of categories; where there are more than CATEGORIES, the last bin holds those that are rarer. `counts`
    [WIDTH] are of the reference: below, bins from 1 to K, above or unseen, missing.
    """

    kind: Kind
    state: Steadiness
    counts: Ints
    edges: Floats = field(default_factory=lambda: np.empty(0))
    categories: tuple[Any, ...] = ()
    rare: tuple[Any, ...] = ()
    spread: float = 1.0
    """Standard deviation of the numbers, which distances are told in."""
    psi: tuple[float, float] = (0.0, 0.0)
    """Limits of the short and the long window."""
    ks: tuple[float, float] = (1.0, 1.0)
    missing: float = 1.0
    outside: float = 1.0
    """Limit of the share of values out of range, or of unseen categories."""
    _cuts: Floats = field(default_factory=lambda: np.empty(0), repr=False)
    _places: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64), repr=False)
    _code: dict[Any, int] = field(default_factory=dict, repr=False)

    @property
    def bins(self) -> int:
        """K."""
        return max(1, len(self.edges) - 1) if self.kind == "number" else len(self.categories) + bool(self.rare)

    @property
    def folded_bins(self) -> int:
        """Bins that distances are of: unseen categories have one of their own, numbers out of range the outer ones."""
        return self.bins + (self.kind == "category")

    def codes(self, values: Column) -> Ints:
        """The place of each value in `counts`."""
        if self.kind == "number":
            places = np.searchsorted(self._cuts, np.asarray(values, dtype=np.float64), side="right")
            return self._places[places]
        get = self._code.get
        if values.dtype == np.float64:  # whole numbers that are codes
            places = np.searchsorted(self._cuts, values)
            known = self._cuts[np.minimum(places, len(self._cuts) - 1)] == values
            return np.where(known, self._places[places], np.where(np.isnan(values), MISSING, ABOVE))
        return np.fromiter(map(get, values.tolist(), repeat(ABOVE)), np.int64, len(values))

    def __post_init__(self) -> None:
        if self.kind == "number":
            low, *inner, high = self.edges.tolist() if len(self.edges) else (0.0, 0.0)
            margin = MARGIN * (high - low)
            cuts = np.array([low - margin, *inner, np.nextafter(high + margin, np.inf), np.inf])
            object.__setattr__(self, "_cuts", cuts)  # NaN comes after infinity
            object.__setattr__(self, "_places", np.array([*range(self.bins + 1), ABOVE, MISSING]))
            return
        code: dict[Any, int] = {category: i for i, category in enumerate(self.categories, start=1)}
        code.update(dict.fromkeys(self.rare, len(self.categories) + 1))
        object.__setattr__(self, "_code", {**code, None: MISSING})
        if code and all(isinstance(value, float) for value in code):
            cuts = np.array(sorted(code))
            object.__setattr__(self, "_cuts", cuts)
            object.__setattr__(self, "_places", np.array([*(code[value] for value in cuts.tolist()), ABOVE]))


def learn(spec: ColumnSpec, values: Column, limits: Limits, columns: int) -> ColumnReference:
    """The reference that these values make, which are in the order in which they came; `columns` are watched together.

    Chance is measured and not assumed: each window of the reference is compared with the rest of the reference. A
    window of independent values is as far away as theory says; values that come in runs, or follow the hour, are
    farther, and so are their limits. The distances are taken to be distributed as a gamma distribution of their mean
    and deviation (Satterthwaite), and a limit is where it has `Limits.tail` left, or the largest distance seen.
    """
    kind, values = _kind(spec, values)
    short = limits.blocks[0]
    if kind == "number":
        made = _number(values)
        outside = _outside(values, short * BLOCK)
    else:
        made, unseen = _category(values)
        outside = np.array([unseen / max(len(values), 1)])
    if made.state == "identifier":
        return made
    blocks = _blocks(made.codes(values))
    windows = blocks[: len(blocks) // short * short].reshape(-1, short, WIDTH).sum(axis=1)
    rest = blocks.sum(axis=0) - windows
    psi, ks = _own_distances(made, windows, rest)
    observed, reference = float(windows[0].sum()), float(blocks.sum())
    noise, _ = distances.psi_noise(made.folded_bins, observed, max(reference - observed, 1.0))
    state: Steadiness = "unsteady" if float(psi.mean()) - noise > limits.unsteady else "steady"
    return ColumnReference(
        kind=made.kind, state=state, counts=made.counts, edges=made.edges, categories=made.categories, rare=made.rare,
        spread=made.spread,
        psi=_psi_limits(psi, made.folded_bins, reference, limits, columns),
        ks=_ks_limits(ks, reference, limits, columns),
        missing=_rate_limit(windows[:, MISSING] / observed, observed, limits, columns),
        outside=_rate_limit(outside, observed, limits, columns),
    )  # fmt: skip


def _kind(spec: ColumnSpec, values: Column) -> tuple[Kind, Column]:
    """How a column is compared: whole numbers of few different values are codes."""
    if spec.kind == "category":
        return "category", values
    if spec.whole:
        distinct = np.unique(values[~np.isnan(values)])
        if len(distinct) <= _CODES:
            return "category", values
    return "number", values


def _number(values: Floats) -> ColumnReference:
    """Bins and counts."""
    known = values[~np.isnan(values)]
    edges = distances.quantile_edges(known, BINS)
    bare = ColumnReference("number", "steady", np.zeros(WIDTH, dtype=np.int64), edges=edges)
    counts = np.bincount(bare.codes(values), minlength=WIDTH)
    spread = float(np.std(known)) if len(known) else 1.0
    return ColumnReference("number", "steady", counts, edges=edges, spread=spread or 1.0)


def _outside(values: Floats, window: int) -> Floats:
    """Of each window, the share of its values that are out of range of all the other windows."""
    count = len(values) // window
    if count < 2:
        return np.zeros(1)
    windows = values[: count * window].reshape(count, window)
    low, high = _of_others(np.fmin.reduce(windows, axis=1)), -_of_others(-np.fmax.reduce(windows, axis=1))
    margin = MARGIN * (high - low)
    out = (windows < (low - margin)[:, None]) | (windows > (high + margin)[:, None])
    shares: Floats = out.mean(axis=1)
    return shares


def _of_others(least: Floats) -> Floats:
    """For each window the least of the others' least values."""
    order = np.argsort(least)  # NaN, of a window without numbers, comes last
    found = np.full(len(least), least[order[0]])
    found[order[0]] = least[order[1]]
    return found


def _category(values: Column) -> tuple[ColumnReference, float]:
    """Categories and counts; and how many unseen ones are expected among as many values: those seen once (Good)."""
    known = [value for value in values.tolist() if value is not None and value == value]  # noqa: PLR0124 - NaN
    seen = Counter(known)
    if len(seen) > _MOST or (len(known) >= BLOCK and len(seen) > _IDENTIFIER * len(known)):
        return ColumnReference("category", "identifier", np.zeros(WIDTH, dtype=np.int64)), 0.0
    ordered = [category for category, _ in seen.most_common()]
    room = CATEGORIES if len(ordered) <= CATEGORIES else CATEGORIES - 1
    frequent, rare = tuple(ordered[:room]), tuple(ordered[room:])
    bare = ColumnReference("category", "steady", np.zeros(WIDTH, dtype=np.int64), categories=frequent, rare=rare)
    counts = np.bincount(bare.codes(values), minlength=WIDTH)
    made = ColumnReference("category", "steady", counts, categories=frequent, rare=rare)
    return made, float(sum(1 for count in seen.values() if count == 1))


def _blocks(codes: Ints) -> Ints:
    """Counts of each whole block [B, WIDTH]; of fewer values than a block, of all of them."""
    whole = max(1, len(codes) // BLOCK)
    codes = codes[: whole * BLOCK]
    rows = np.arange(len(codes)) // BLOCK
    return np.bincount(rows * WIDTH + codes, minlength=whole * WIDTH).reshape(whole, WIDTH)


def folded(counts: Any, bins: Ints | int) -> Any:
    """Counts [..., WIDTH] as the bins that distances are of [..., FOLDED]: what is outside in the outer bins.

    `bins` is `ColumnReference.folded_bins`, or one for each column of [..., C, WIDTH].
    """
    inside = np.concatenate([counts[..., 1 : CATEGORIES + 1], np.zeros_like(counts[..., :1])], axis=-1)
    inside[..., 0] += counts[..., BELOW]
    last = np.asarray(bins) - 1
    if last.ndim:
        inside[..., np.arange(len(last)), last] += counts[..., ABOVE]
    else:
        inside[..., last] += counts[..., ABOVE]
    return inside


def smoothing(bins: Ints | int) -> Floats:
    """What `distances.psi` adds to the bins that there are, of so many or of one number for each column."""
    return np.where(np.arange(FOLDED) < np.asarray(bins)[..., None], distances.SMOOTHING, 0.0)


def _own_distances(made: ColumnReference, windows: Ints, rest: Ints) -> tuple[Floats, Floats]:
    own, others = folded(windows, made.folded_bins), folded(rest, made.folded_bins)
    ks = distances.ks(others, own) if made.kind == "number" else np.zeros(len(windows))
    return distances.psi(others, own, smoothing(made.folded_bins)), ks


def _psi_limits(own: Floats, bins: int, reference: float, limits: Limits, columns: int) -> tuple[float, float]:
    """Limits of both windows.

    The reference holds too few long windows to measure: their distances are taken to be those of chance, and what the
    short windows have beyond chance.
    """
    tail, found = limits.tail(columns), []
    for window, least in zip(limits.windows, limits.psi, strict=True):
        mean, deviation = distances.psi_noise(bins, limits.windows[0], max(reference - limits.windows[0], 1.0))
        beyond, wider = max(0.0, float(own.mean()) - mean), max(0.0, float(own.var()) - deviation**2)
        mean, deviation = distances.psi_noise(bins, window, reference)
        spread = SPREAD * float(np.sqrt(deviation**2 + wider))
        chance = distances.gamma_quantile(mean + beyond, spread, tail)
        found.append(max(least, chance, float(own.max(initial=0.0)) if window == limits.windows[0] else 0.0))
    return float(found[0]), float(found[1])


def _ks_limits(own: Floats, reference: float, limits: Limits, columns: int) -> tuple[float, float]:
    """As of PSI, by the distances' mean and deviation, and never below what the DKW inequality says of chance."""
    tail, sigmas, found = limits.tail(columns), limits.sigmas(columns), []
    for window, least in zip(limits.windows, limits.ks, strict=True):
        part = (limits.windows[0] / window) ** 0.5  # of what chance adds to a window's distance
        chance = distances.ks_critical(0.5, limits.windows[0], reference)
        level = max(0.0, float(own.mean()) - chance) + chance * part
        spread = max(float(own.std()), chance / 3 * part)
        found.append(max(least, distances.ks_critical(tail, window, reference), level + sigmas * SPREAD * spread))
    return float(found[0]), float(found[1])


def _rate_limit(shares: Floats, window: float, limits: Limits, columns: int) -> float:
    """The share from which a window has too many: the reference's, chance, and the least rise that matters.

    Above 1 where nothing is left to rise.
    """
    mean = float(shares.mean())
    spread = SPREAD * float(np.sqrt(shares.var() + mean * (1 - mean) / max(window, 1.0)))
    return mean + max(limits.rate, limits.sigmas(columns) * spread)


def as_plain(reference: ColumnReference) -> dict[str, Any]:
    """The reference as plain values, for JSON and msgpack."""
    return {
        "kind": reference.kind, "state": reference.state, "counts": reference.counts.tolist(),
        "edges": reference.edges.tolist(), "categories": list(reference.categories), "rare": list(reference.rare),
        "spread": reference.spread, "psi": list(reference.psi), "ks": list(reference.ks), "missing": reference.missing,
        "outside": reference.outside,
    }  # fmt: skip


def from_plain(plain: Mapping[str, Any]) -> ColumnReference:
    """The reference of what `as_plain` returned.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    counts = np.array(plain["counts"], dtype=np.int64)
    if counts.shape != (WIDTH,):
        raise ValueError(f"{len(counts)} counts, expected {WIDTH}")
    return ColumnReference(
        kind=plain["kind"], state=plain["state"], counts=counts, edges=np.array(plain["edges"], dtype=np.float64),
        categories=tuple(plain["categories"]), rare=tuple(plain["rare"]), spread=float(plain["spread"]),
        psi=tuple(plain["psi"]), ks=tuple(plain["ks"]), missing=float(plain["missing"]),
        outside=float(plain["outside"]),
    )  # fmt: skip
