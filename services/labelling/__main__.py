"""`python -m services.labelling --pipeline FOLDER`."""

import sys
from collections.abc import Sequence

import uvloop

from headrace.runtime.lifecycle import run_role
from services.labelling.app import build
from services.labelling.settings import LabellingSettings


def main(argv: Sequence[str]) -> int:
    """Run the role `labelling`; returns its exit code."""
    return run_role("labelling", LabellingSettings, build, argv, loop_factory=uvloop.new_event_loop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
