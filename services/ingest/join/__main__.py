"""`python -m services.ingest.join --pipeline FOLDER`."""

import sys
from collections.abc import Sequence

from headrace.runtime.lifecycle import run_role
from services.ingest.join.app import build_join
from services.ingest.join.settings import JoinSettings


def main(argv: Sequence[str]) -> int:
    """Run the role `join`; returns its exit code."""
    return run_role("join", JoinSettings, build_join, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
