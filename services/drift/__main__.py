"""`python -m services.drift --pipeline FOLDER`."""

import sys
from collections.abc import Sequence

from headrace.runtime.lifecycle import run_role
from services.drift.app import build
from services.drift.settings import DriftSettings


def main(argv: Sequence[str]) -> int:
    """Run the role `drift`; returns its exit code."""
    return run_role("drift", DriftSettings, build, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
