"""How far two people agree who labelled the same items, field by field.

Categories: the percentage of equal answers, and Cohen's kappa, (p_o - p_e) / (1 - p_e), where p_o is the share of equal
answers and p_e what it would be if each person gave theirs by chance, as often as they gave each (Cohen 1960). Numbers:
the mean absolute difference, and the percentage that is equal.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from services.labelling.forms.fields import FormField

Pair = tuple[Any, Any]


def cohens_kappa(pairs: Sequence[Pair]) -> float | None:
    """Kappa of pairs of answers; None where it is not defined: no pairs, or one answer alone was ever given."""
    if not pairs:
        return None
    ours, theirs = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    observed = sum(one == other for one, other in pairs) / len(pairs)
    expected = sum(ours[value] * theirs[value] for value in ours) / len(pairs) ** 2
    return None if math.isclose(expected, 1.0) else (observed - expected) / (1 - expected)


def mean_absolute_difference(pairs: Sequence[Pair]) -> float | None:
    """Of pairs of numbers; None where there are none."""
    return math.fsum(abs(one - other) for one, other in pairs) / len(pairs) if pairs else None


class Double:
    """An item that two people labelled: who, and what each said, the first person's first."""

    __slots__ = ("labellers", "labels")

    def __init__(self, labellers: tuple[str, str], labels: tuple[Mapping[str, Any], Mapping[str, Any]]) -> None:
        self.labellers, self.labels = labellers, labels


def agreement(doubles: Iterable[Double], fields: Sequence[FormField]) -> dict[str, Any]:
    """Over all items, and for each pair of people, in the order of their names."""
    found = list(doubles)
    by_pair = defaultdict[tuple[str, str], list[Double]](list)
    for double in found:
        by_pair[_sorted(double).labellers].append(_sorted(double))
    return {
        "items": len(found),
        "fields": [_of_field(field, found) for field in fields],
        "pairs": [
            {"labellers": list(names), "n": len(theirs), "fields": [_of_field(field, theirs) for field in fields]}
            for names, theirs in sorted(by_pair.items())
        ],
    }


def _sorted(double: Double) -> Double:
    if double.labellers[0] <= double.labellers[1]:
        return double
    return Double((double.labellers[1], double.labellers[0]), (double.labels[1], double.labels[0]))


def _of_field(field: FormField, doubles: Sequence[Double]) -> dict[str, Any]:
    pairs = [(one.get(field.name), other.get(field.name)) for one, other in (double.labels for double in doubles)]
    equal = sum(one == other for one, other in pairs)
    both = [(a, b) for a, b in pairs if isinstance(a, int | float) and isinstance(b, int | float)]
    categories = field.is_category or field.choices is not None
    return {
        "field": field.name,
        "kind": "categories" if categories else "numbers",
        "n": len(pairs),
        "percent": 100 * equal / len(pairs) if pairs else None,
        "kappa": cohens_kappa([(_hashable(a), _hashable(b)) for a, b in pairs]) if categories else None,
        "mean_absolute_difference": None if categories else mean_absolute_difference(both),
    }


def _hashable(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else msgspec.json.encode(value, order="sorted")
