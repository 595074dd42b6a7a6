"""The statistics of several processes as one server's."""

from collections.abc import Iterable, Mapping
from typing import Any

Statistics = list[dict[str, Any]]


def merged(parts: Iterable[Statistics]) -> Statistics:
    """The sums of ModelStatistics, by model; versions, and the models' order, are the first part's."""
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        for one in part:
            known = found.get(one["name"])
            found[one["name"]] = one if known is None else _both(known, one)
    return list(found.values())


def _both(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    sums = {name: one[name] + other[name] for name in ("inference_count", "execution_count")}
    stats = {name: _sum(value, other["inference_stats"][name]) for name, value in one["inference_stats"].items()}
    return {
        **one,
        **sums,
        "last_inference": max(one["last_inference"], other["last_inference"]),
        "inference_stats": stats,
        "batch_stats": _batches([*one["batch_stats"], *other["batch_stats"]]),
    }


def _batches(all_of_them: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for batch in all_of_them:
        size = batch["batch_size"]
        known = found.get(size)
        found[size] = (
            dict(batch)
            if known is None
            else {name: size if name == "batch_size" else _sum(value, batch[name]) for name, value in known.items()}
        )
    return [found[size] for size in sorted(found)]


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: value + other[name] for name, value in one.items()}
