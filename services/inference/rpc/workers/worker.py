"""One of several processes of the role `rpc` that share its ports: `python -m services.inference.rpc.workers.worker`.

The role's main process starts it (`services.inference.rpc.workers.supervisor`).
"""

import sys
from collections.abc import Sequence

import uvloop

from headrace.runtime.lifecycle import run_role
from services.inference.rpc.app import build_worker
from services.inference.rpc.settings import SWITCH_S, RpcSettings

ROLE = "rpc-worker"


def main(argv: Sequence[str]) -> int:
    """Run one worker to its end; returns its exit code."""
    sys.setswitchinterval(SWITCH_S)
    return run_role(ROLE, RpcSettings, build_worker, argv, loop_factory=uvloop.new_event_loop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
