"""`python -m services.inference.rpc --pipeline FOLDER`."""

import os
import sys
from collections.abc import Sequence

import uvloop

from headrace.runtime.lifecycle import App, Context, run_role
from services.inference.rpc.settings import SWITCH_S, RpcSettings


def main(argv: Sequence[str]) -> int:
    """Run the role `rpc`, on uvloop, which halves what a small request costs; returns its exit code."""
    sys.setswitchinterval(SWITCH_S)

    def build(context: Context[RpcSettings]) -> App:
        # Imported here: a main process of several workers needs neither torch nor metrics of its own.
        workers = context.settings.workers or len(os.sched_getaffinity(0))
        if workers > 1:
            from services.inference.rpc.workers.supervisor import WorkersApp

            return WorkersApp(context, argv, workers)
        from services.inference.rpc.app import build_rpc

        return build_rpc(context)

    return run_role("rpc", RpcSettings, build, argv, loop_factory=uvloop.new_event_loop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
