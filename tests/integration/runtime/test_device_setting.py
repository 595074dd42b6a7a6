"""A role that is to use a GPU where there is none."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.patience import WAIT_S

RIDES = Path(__file__).parents[3] / "examples" / "rides"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("service", ["inference.stream", "trainer"])
def test_a_gpu_that_is_not_there_ends_the_role_at_once(service: str, tmp_path: Path) -> None:
    """Before it looks for Kafka, and naming the setting."""
    ended = subprocess.run(
        [sys.executable, "-m", f"services.{service}", "--pipeline", str(RIDES), "--device=cuda",
         "--kafka-bootstrap-servers=127.0.0.1:1", f"--run-dir={tmp_path}"],
        capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "--device cuda: " in ended.stderr
    assert "Traceback" not in ended.stderr
