"""`python -m services.trainer.ondemand --pipeline FOLDER`."""

import sys
from collections.abc import Sequence

import uvloop

from headrace.runtime.lifecycle import run_role
from services.trainer.ondemand.app import build
from services.trainer.ondemand.settings import TrainSettings


def main(argv: Sequence[str]) -> int:
    """Run the role `train`; returns its exit code."""
    return run_role("train", TrainSettings, build, argv, loop_factory=uvloop.new_event_loop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
