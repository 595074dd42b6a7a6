"""`python -m services.ckpt coordinator | agent [flags]`."""

import sys

from headrace.runtime.lifecycle import run_service
from services.ckpt.app import run_agent, run_coordinator

if __name__ == "__main__":
    sys.exit(run_service({"coordinator": run_coordinator, "agent": run_agent}, sys.argv[1:], service="ckpt"))
