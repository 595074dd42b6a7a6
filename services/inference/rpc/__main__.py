"""`python -m services.inference.rpc --pipeline FOLDER`."""

import sys
from collections.abc import Sequence

import uvloop

from headrace.runtime.lifecycle import run_role
from services.inference.rpc.app import build_rpc
from services.inference.rpc.settings import RpcSettings

_SWITCH_S = 0.0005
"""For how long a thread that computes keeps another from running Python: the event loop beside an execution."""


def main(argv: Sequence[str]) -> int:
    """Run the role `rpc`, on uvloop, which halves what a small request costs; returns its exit code."""
    sys.setswitchinterval(_SWITCH_S)
    return run_role("rpc", RpcSettings, build_rpc, argv, loop_factory=uvloop.new_event_loop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
