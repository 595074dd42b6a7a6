"""`python -m services.monitor monitor --pipeline FOLDER`."""

import sys

from headrace.runtime.lifecycle import run_role, run_service
from services.monitor.app import build
from services.monitor.settings import MonitorSettings

ROLES = {"monitor": lambda argv: run_role("monitor", MonitorSettings, build, argv)}

if __name__ == "__main__":
    sys.exit(run_service(ROLES, sys.argv[1:], service="monitor"))
