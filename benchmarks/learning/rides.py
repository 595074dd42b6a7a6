"""How many labels after a drift the model needs to predict as well as it will: the simulated city's roadworks."""

from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.learning.progressive import progressive
from headrace.model.pipeline import load_pipeline

FOLDER = Path("examples/rides")
RECORDS, WINDOW, NEAR = 250_000, 1000, 1.15
DRIFT_HOURS, LONGEST_RIDE_S = 0.4, 5400.0


def recovery() -> dict[str, float]:
    """Labels of rides requested after the drift, until the mean error of `WINDOW` requests stays near the end's.

    Near is within a factor of `NEAR`. Errors are in the order of requests, so a ride that was under way when the drift
    came does not count. Requests of the last `LONGEST_RIDE_S` are left out: of them, only short rides have ended.
    """
    pipeline = load_pipeline(FOLDER)
    records = list(islice(pipeline.source().replay(drift_at=DRIFT_HOURS), RECORDS))
    errors = progressive(pipeline, records)
    key_of, drift = pipeline.model.key_of, records[0].at + DRIFT_HOURS * 3600
    requested = {key_of(r.value): (r.at, i) for i, r in enumerate(records) if r.kind == "events"}
    ended = [i for i, r in enumerate(records) if r.kind == "labels" and requested[key_of(r.value)][0] >= drift]
    made = dict(zip(errors.keys, errors.by_name["model"], strict=True))
    asked = [(at, i, made[key]) for key, (at, i) in requested.items() if key in made]
    asked = [one for one in asked if one[0] < records[-1].at - LONGEST_RIDE_S]
    means = np.convolve([error for _, _, error in asked], np.ones(WINDOW) / WINDOW, "valid")
    first = next(n for n, (at, _, _) in enumerate(asked) if at >= drift)
    settled = float(means[-5 * WINDOW :].mean())
    last = max(n for n in range(first, len(means)) if means[n] > NEAR * settled)
    return {
        "before": float(means[first - WINDOW]),
        "peak": float(means[first:].max()),
        "after": settled,
        "recovery_labels": float(np.searchsorted(ended, asked[last + 1][1])),
    }
