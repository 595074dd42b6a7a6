"""The fleet of tests/integration/ckpt/fleet.py."""

import pytest
import structlog

from headrace.runtime.logging import leave_to_host
from tests.integration.ckpt.fleet import applied, fleet

__all__ = ["applied", "fleet"]


@pytest.fixture(autouse=True, scope="session")
def quiet_threads():
    """Workers of this process log from their threads.

    Not to standard output, where a command's answer may be collected.
    """
    structlog.reset_defaults()  # capturing logs, as a test before may have, leaves them configured
    leave_to_host()
