"""The fleet of tests/integration/ckpt/fleet.py."""

from tests.integration.ckpt.fleet import applied, fleet

__all__ = ["applied", "fleet"]
