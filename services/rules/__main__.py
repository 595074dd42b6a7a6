"""`python -m services.rules --pipeline FOLDER`."""

import sys
from collections.abc import Sequence

import uvloop

from headrace.runtime.lifecycle import run_role
from services.rules.app import build
from services.rules.settings import RulesSettings


def main(argv: Sequence[str]) -> int:
    """Run the role `rules`; returns its exit code."""
    return run_role("rules", RulesSettings, build, argv, loop_factory=uvloop.new_event_loop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
