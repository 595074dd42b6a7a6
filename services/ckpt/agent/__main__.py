"""`python -m services.ckpt.agent`."""

import sys
from collections.abc import Sequence

from headrace.runtime.lifecycle import run_role
from services.ckpt.agent.app import AgentApp
from services.ckpt.agent.settings import AgentSettings


def main(argv: Sequence[str]) -> int:
    """Run the role `agent`; returns its exit code."""
    return run_role("agent", AgentSettings, AgentApp, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
