"""From a label to predictions by weights that learned it, while records flow through the whole system at a rate."""

import time
from pathlib import Path

from headrace.contracts.snapshot import Snapshot
from headrace.launch.pipeline_run import PipelineRun, Replay, fresh_folder

FOLDER = Path("examples/rides")
LONGEST_S = 120.0


def freshness(rate: float, seconds: float) -> dict[str, float]:
    """Quantiles in seconds over the last 100 versions, as the monitor saw them; and labels joined a second meanwhile.

    `rate` is of events a second; nearly every one of them gets its label.

    Raises:
        RuntimeError: no version was fresh within two minutes.
    """
    with PipelineRun(FOLDER, fresh_folder(f"bench-freshness-{rate:.0f}", None), Replay(rate=rate), core=True) as run:
        run.start()
        before, began = _fresh(run), time.monotonic()
        while (took := time.monotonic() - began) < seconds:
            run.check()
            time.sleep(0.5)
        after = _fresh(run)
        joined = after.counts.joined - before.counts.joined
        return {
            "rate": rate,
            "labels_s": joined / took,
            "p50": after.freshness.p50 or 0.0,
            "p99": after.freshness.p99 or 0.0,
        }


def _fresh(run: PipelineRun) -> Snapshot:
    """The newest snapshot, once a version was fresh."""
    deadline = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline:
        run.check()
        snapshot = run.snapshot()
        if snapshot is not None and snapshot.freshness.p50 is not None:
            return snapshot
        time.sleep(0.2)
    raise RuntimeError("no version was fresh within two minutes")
