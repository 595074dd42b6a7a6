"""`python -m services.ingest --pipeline FOLDER`."""

import sys
from collections.abc import Sequence

import uvloop

from headrace.runtime.lifecycle import run_role
from services.ingest.app import build_ingest
from services.ingest.settings import IngestSettings


def main(argv: Sequence[str]) -> int:
    """Run the role `ingest`; returns its exit code."""
    return run_role("ingest", IngestSettings, build_ingest, argv, loop_factory=uvloop.new_event_loop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
