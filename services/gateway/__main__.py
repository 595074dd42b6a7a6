"""`python -m services.gateway gateway --pipeline FOLDER`."""

import sys

import uvloop

from headrace.runtime.lifecycle import run_role, run_service
from services.gateway.app import build
from services.gateway.settings import GatewaySettings

ROLES = {"gateway": lambda argv: run_role("gateway", GatewaySettings, build, argv, loop_factory=uvloop.new_event_loop)}

if __name__ == "__main__":
    sys.exit(run_service(ROLES, sys.argv[1:], service="gateway"))
