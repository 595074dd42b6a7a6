"""How many labels after a drift the model needs until its error is near what it was: the simulated city's roadworks."""

from itertools import islice
from pathlib import Path

from benchmarks.learning.progressive import progressive
from headrace.model.pipeline import load_pipeline

FOLDER = Path("examples/rides")
RECORDS, WINDOW, NEAR = 100_000, 1000, 1.15


def recovery() -> dict[str, float]:
    """Labels from the drift's peak error until the mean of `WINDOW` labels is within `NEAR` of the error at the end."""
    errors = progressive(load_pipeline(FOLDER), islice(load_pipeline(FOLDER).source().replay(drift_at=0.4), RECORDS))
    model = errors.by_name["model"]
    means = [sum(model[i : i + WINDOW]) / WINDOW for i in range(0, len(model) - WINDOW, 100)]
    first = _drift(means)
    settled = sum(means[-20:]) / 20
    found = next(i for i in range(first, len(means)) if means[i] <= NEAR * settled)
    return {
        "before": sum(means[first - 30 : first - 10]) / 20,
        "peak": max(means[first:]),
        "after": settled,
        "recovery_labels": float((found - first) * 100 + WINDOW),
    }


def _drift(means: list[float]) -> int:
    """Where the error first leaves what it was: above twice the least so far."""
    least = float("inf")
    for i, mean in enumerate(means):
        least = min(least, mean)
        if i > 60 and mean > 1.5 * least:
            return i
    raise RuntimeError("no drift was seen")
