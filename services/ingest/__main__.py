"""`python -m services.ingest ingest|join --pipeline FOLDER`."""

import sys
from collections.abc import Sequence

import uvloop

from headrace.runtime.lifecycle import run_role, run_service
from services.ingest.app import build_ingest, build_join
from services.ingest.settings import IngestSettings, JoinSettings


def ingest(argv: Sequence[str]) -> int:
    """Run the role `ingest`, on uvloop."""
    return run_role("ingest", IngestSettings, build_ingest, argv, loop_factory=uvloop.new_event_loop)


def join(argv: Sequence[str]) -> int:
    """Run the role `join`."""
    return run_role("join", JoinSettings, build_join, argv)


if __name__ == "__main__":
    sys.exit(run_service({"ingest": ingest, "join": join}, sys.argv[1:], service="ingest"))
