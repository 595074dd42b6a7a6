"""`python -m services.bridge --pipeline FOLDER --repository FOLDER --triton HOST:PORT`."""

import sys
from collections.abc import Sequence

from headrace.runtime.lifecycle import run_role
from services.bridge.app import build
from services.bridge.settings import TritonBridgeSettings


def main(argv: Sequence[str]) -> int:
    """Run the role `triton-bridge`; returns its exit code."""
    return run_role("triton-bridge", TritonBridgeSettings, build, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
