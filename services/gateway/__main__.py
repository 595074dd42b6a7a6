"""`python -m services.gateway --pipeline FOLDER`."""

import sys
from collections.abc import Sequence

import uvloop

from headrace.runtime.lifecycle import run_role
from services.gateway.app import build
from services.gateway.settings import GatewaySettings


def main(argv: Sequence[str]) -> int:
    """Run the role `gateway`; returns its exit code."""
    return run_role("gateway", GatewaySettings, build, argv, loop_factory=uvloop.new_event_loop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
