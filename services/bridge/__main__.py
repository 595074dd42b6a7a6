"""`python -m services.bridge triton-bridge --pipeline FOLDER --repository FOLDER --triton HOST:PORT`."""

import sys

from headrace.runtime.lifecycle import run_role, run_service
from services.bridge.app import build
from services.bridge.settings import TritonBridgeSettings

ROLES = {"triton-bridge": lambda argv: run_role("triton-bridge", TritonBridgeSettings, build, argv)}

if __name__ == "__main__":
    sys.exit(run_service(ROLES, sys.argv[1:], service="bridge"))
