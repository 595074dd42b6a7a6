"""`python -m services.ckpt.coordinator`."""

import sys
from collections.abc import Sequence

from headrace.runtime.lifecycle import run_role
from services.ckpt.coordinator.app import CoordinatorApp
from services.ckpt.coordinator.settings import CoordinatorSettings


def main(argv: Sequence[str]) -> int:
    """Run the role `coordinator`; returns its exit code."""
    return run_role("coordinator", CoordinatorSettings, CoordinatorApp, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
