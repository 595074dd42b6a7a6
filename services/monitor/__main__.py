"""`python -m services.monitor --pipeline FOLDER`."""

import sys
from collections.abc import Sequence

from headrace.runtime.lifecycle import run_role
from services.monitor.app import build
from services.monitor.settings import MonitorSettings


def main(argv: Sequence[str]) -> int:
    """Run the role `monitor`; returns its exit code."""
    return run_role("monitor", MonitorSettings, build, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
