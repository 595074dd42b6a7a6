"""The fleet of tests/integration/ckpt/fleet.py."""

from tests.integration.ckpt.fleet import fleet

__all__ = ["fleet"]
