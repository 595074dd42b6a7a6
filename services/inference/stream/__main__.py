"""`python -m services.inference.stream --pipeline FOLDER`."""

import sys
from collections.abc import Sequence

from headrace.runtime.lifecycle import run_role
from services.inference.stream.app import build_stream
from services.inference.stream.settings import StreamSettings


def main(argv: Sequence[str]) -> int:
    """Run the role `stream`; returns its exit code."""
    return run_role("stream", StreamSettings, build_stream, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
