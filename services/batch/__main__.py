"""`python -m services.batch --pipeline FOLDER`."""

import sys
from collections.abc import Sequence

import uvloop

from headrace.runtime.lifecycle import run_role
from services.batch.app import build
from services.batch.settings import BatchSettings


def main(argv: Sequence[str]) -> int:
    """Run the role `batch`; returns its exit code."""
    return run_role("batch", BatchSettings, build, argv, loop_factory=uvloop.new_event_loop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
