"""The same job on a real Ray Data makes the same bytes; run by `make ray`, in an environment that has Ray."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.batch.conftest import Batches, trips, write
from tests.patience import WAIT_S

PYTHON = os.environ.get("RAY_PYTHON", "")

pytestmark = pytest.mark.skipif(not PYTHON, reason="`make ray` runs this")


@pytest.mark.timeout(900)
def test_ray_makes_the_same_bytes(batches: Batches, tmp_path: Path) -> None:
    source = write(trips(5000), tmp_path / "x.parquet", row_group_size=1000)
    options = {"part_rows": 1000, "batch_rows": 256}
    (tmp_path / "here").mkdir()
    assert batches.start(batches.job(source, tmp_path / "here" / "y.parquet", **options)).wait(WAIT_S) == 0
    job = batches.job(source, tmp_path / "y.parquet", engine="ray", workers=2, **options)
    done = subprocess.run(
        [PYTHON, "-m", "headrace.batch", str(job)], stdin=subprocess.PIPE, capture_output=True, text=True, check=False,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_raylet_start_wait_time_s": "300"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "y.parquet").read_bytes() == (tmp_path / "here" / "y.parquet").read_bytes()
