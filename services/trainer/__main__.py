"""`python -m services.trainer --pipeline FOLDER`."""

import sys
from collections.abc import Sequence

from headrace.runtime.lifecycle import run_role
from services.trainer.app import build
from services.trainer.settings import TrainerSettings


def main(argv: Sequence[str]) -> int:
    """Run the role `trainer`; returns its exit code."""
    return run_role("trainer", TrainerSettings, build, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
