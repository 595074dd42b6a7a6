"""Composition of both roles."""

from collections.abc import Sequence

from headrace.runtime.lifecycle import run_role
from services.ckpt.agent_app import AgentApp
from services.ckpt.coordinator_app import CoordinatorApp
from services.ckpt.settings import AgentSettings, CoordinatorSettings


def run_agent(argv: Sequence[str]) -> int:
    """Run the agent; returns its exit code."""
    return run_role("agent", AgentSettings, AgentApp, argv)


def run_coordinator(argv: Sequence[str]) -> int:
    """Run the coordinator; returns its exit code."""
    return run_role("coordinator", CoordinatorSettings, CoordinatorApp, argv)
