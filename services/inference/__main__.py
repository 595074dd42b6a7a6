"""`python -m services.inference stream|rpc --pipeline FOLDER`."""

import sys

from headrace.runtime.lifecycle import run_role, run_service
from services.inference.app import build_rpc, build_stream, event_loop
from services.inference.settings import RpcSettings, StreamSettings

ROLES = {
    "stream": lambda argv: run_role("stream", StreamSettings, build_stream, argv),
    "rpc": lambda argv: run_role("rpc", RpcSettings, build_rpc, argv, loop_factory=event_loop),
}

if __name__ == "__main__":
    sys.exit(run_service(ROLES, sys.argv[1:], service="inference"))
