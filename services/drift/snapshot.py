"""What the role knows, as plain values: the answer of GET /v1/drift."""

from typing import Any

from headrace.drift.changes import MeanChange
from headrace.drift.limits import ABOVE, BELOW, MISSING, WIDTH
from headrace.drift.windows import Group
from services.drift.service import Watch


def snapshot(watch: Watch, now: float) -> dict[str, Any]:
    """The snapshot as of `now`, in seconds since the epoch."""
    pipeline = watch.watched.pipeline
    columns = _columns(watch.inputs, pipeline, "input")
    for model, group in watch.predictions_of.items():
        columns += _columns(group, model, "prediction")
    learned = [watch.inputs.learned(i) for i, one in enumerate(watch.inputs.references) if one is None]
    return {
        "pipeline": pipeline, "at_us": int(now * 1e6), "counts": dict(watch.counts),
        "reference": {
            "kind": "file" if watch.inputs.given else "window", "events": watch.watched.limits.reference,
            "ready": not learned, "learned": min(learned, default=watch.watched.limits.reference),
        },
        "windows": dict(zip(("short", "long"), watch.watched.limits.windows, strict=True)),
        "columns": columns,
        "errors": {model: _mean(change) for model, change in watch.errors.items()},
        "scores": {model: _mean(change) for model, change in watch.scores.items()},
        "labels_share": watch.labelled.share, "waiting": watch.labelled.waiting, **watch.flow.shown(),
    }  # fmt: skip


def _columns(group: Group, model: str, of: str) -> list[dict[str, Any]]:
    figures = [group.distances(window) for window in (0, 1)]
    filled = [group.filled(window) for window in (0, 1)]
    missing, below, above = group.shares()
    now = group.counts(1)
    found = []
    for i, spec in enumerate(group.specs):
        reference = group.references[i]
        column: dict[str, Any] = {
            "column": spec.name, "model": model, "of": of, "kind": reference.kind if reference else spec.kind,
            "state": _state(group, i), "drifted": [what for name, what in group.on() if name == spec.name],
            "learned": group.learned(i) if reference is None else None, "windows": {},
            "missing": float(missing[i]), "outside": float(below[i] + above[i]), "reference": None, "now": None,
        }  # fmt: skip
        if reference is not None and reference.state == "steady":
            for window, name in enumerate(("short", "long")):
                if filled[window][i]:
                    psi, ks, moved = (float(one[i]) for one in figures[window])
                    ordered = reference.kind == "number"
                    column["windows"][name] = {
                        "psi": psi, "ks": ks if ordered else None, "wasserstein": moved if ordered else None,
                        "limit_psi": reference.psi[window], "limit_ks": reference.ks[window],
                    }  # fmt: skip
            column["limit_missing"], column["limit_outside"] = reference.missing, reference.outside
            column["reference"] = _distribution(reference.counts, reference.bins)
            column["reference"].update(
                {"edges": reference.edges.tolist()} if reference.kind == "number"
                else {"categories": [str(c) for c in reference.categories] + ["(rarer)"] * bool(reference.rare)}
            )  # fmt: skip
            column["now"] = _distribution(now[i], reference.bins)
        found.append(column)
    return found


def _state(group: Group, column: int) -> str:
    reference = group.references[column]
    if reference is None:
        return "learning"
    if group.firing[:, column].any():
        return "drifted"
    return reference.state


def _distribution(counts: Any, bins: int) -> dict[str, Any]:
    assert len(counts) == WIDTH
    return {
        "counts": counts[1 : bins + 1].tolist(), "below": int(counts[BELOW]), "above": int(counts[ABOVE]),
        "missing": int(counts[MISSING]),
    }  # fmt: skip


def _mean(change: MeanChange) -> dict[str, Any]:
    state = "learning" if change.usual is None else "drifted" if change.firing else "usual"
    return {
        "recent": change.mean, "usual": change.usual, "limit": change.limit, "state": state, "taken": change.taken
    }  # fmt: skip
