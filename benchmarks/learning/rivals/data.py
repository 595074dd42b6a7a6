"""What the rivals learn from: the same events, as the model's own features."""

from pathlib import Path

import numpy as np
import torch

from benchmarks.learning.flights import FOLDER
from headrace.model.pipeline import load_pipeline

AT_ONCE = 4096


def write(path: Path) -> None:
    """See `benchmarks/learning/rivals/run.py` for the arrays."""
    pipeline = load_pipeline(FOLDER)
    events, rows = [], dict[str, int]()
    labels, landed = dict[int, float](), dict[int, float]()
    for record in pipeline.source().replay():
        if record.kind == "events":
            rows[record.value.flight_id] = len(events)
            events.append(record.value)
        else:
            row = rows[record.value.flight_id]
            labels[row], landed[row] = record.value.arr_delay, record.at
    chunks = [events[i : i + AT_ONCE] for i in range(0, len(events), AT_ONCE)]
    numbers = torch.cat([pipeline.model.features(chunk) for chunk in chunks]).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        numbers=numbers,
        labels=np.array([labels.get(i, np.nan) for i in range(len(events))]),
        departed=np.array([event.departed for event in events]),
        landed=np.array([landed.get(i, np.inf) for i in range(len(events))]),
    )
