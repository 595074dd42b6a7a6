"""`python -m services.trainer trainer --pipeline FOLDER`."""

import sys

from headrace.runtime.lifecycle import run_role, run_service
from services.trainer.app import build
from services.trainer.settings import TrainerSettings

ROLES = {"trainer": lambda argv: run_role("trainer", TrainerSettings, build, argv)}

if __name__ == "__main__":
    sys.exit(run_service(ROLES, sys.argv[1:], service="trainer"))
