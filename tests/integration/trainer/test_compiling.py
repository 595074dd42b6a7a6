"""Learning through torch.compile, and a machine without a C++ compiler."""

import os
import subprocess
import sys
from pathlib import Path

from tests.line_kit import needs_compiler

USE = """
import sys
from services.trainer.deferred_compiler import defer_compiler
defer_compiler()
from headrace.runtime.devices.host import HOST
from headrace.runtime.errors import ConfigError
from services.trainer.compiler_check import check_compiler
try:
    check_compiler(HOST)
except ConfigError as error:
    print(error)
else:
    print("works")
"""


def checked(folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", USE], capture_output=True, text=True, check=False,
        env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(folder), **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_compiler
def test_a_machine_without_a_compiler_is_told_from_one_that_has_one(tmp_path: Path) -> None:
    """Even where an earlier run left what it compiled in the cache."""
    assert checked(tmp_path) == "works\n"
    said = checked(tmp_path, CXX=str(tmp_path / "g++"))
    assert said.startswith("training.compile: torch.compile does not work on this machine: ")
    assert "No working C++ compiler found" in said
    assert "set training.compile to false" in said
