"""`python -m services.datasets --pipeline FOLDER`."""

import sys
from collections.abc import Sequence

import uvloop

from headrace.runtime.lifecycle import run_role
from services.datasets.app import build
from services.datasets.settings import DatasetsSettings


def main(argv: Sequence[str]) -> int:
    """Run the role `datasets`; returns its exit code."""
    return run_role("datasets", DatasetsSettings, build, argv, loop_factory=uvloop.new_event_loop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
